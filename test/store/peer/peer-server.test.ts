import { crc32 } from '@node-rs/crc32';
import test from 'ava';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { FrameDecoder, type FrameSink } from '../../../store/peer/frame-decoder.ts';
import { META_BYTES_MAX } from '../../../store/peer/limits.ts';
import type { FrameHead } from '../../../store/peer/wire.ts';
import type { Clock } from '../../../store/runtime/clock.ts';
import type { NetworkStream } from '../../../store/runtime/network.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import * as hand from './frames-by-hand.ts';
import { ManualClock } from './manual-clock.ts';
import { makePair, type Pair, PORT, readOf, writeOf } from './peer-pair.ts';

interface HandAnswer {
  readonly type: number;
  readonly status: number;
  readonly requestId: number;
  readonly text: string;
  readonly payloadBytes: number;
}

/** A peer that sends what it is told to, and may leave answers unread. */
class HandPeer implements FrameSink {
  readonly answers: HandAnswer[] = [];
  stream!: NetworkStream;
  state: 'open' | 'closed' = 'open';
  readonly #decoder = new FrameDecoder(this, META_BYTES_MAX);
  #answer!: HandAnswer;

  static async connect(pair: Pair): Promise<HandPeer> {
    const peer = new HandPeer();
    peer.stream = await pair.network.connect({ host: 'sim', port: PORT }, 1000, () => ({
      onData: (chunk) => peer.#decoder.push(chunk, 0),
      onDrain: () => {},
      onClose: () => {
        peer.state = 'closed';
      },
    }));
    return peer;
  }

  /** Connected, and greeted. */
  static async greeted(pair: Pair, hello: hand.HandHello = {}): Promise<HandPeer> {
    const peer = await HandPeer.connect(pair);
    peer.send(hand.hello({ clientId: Buffer.alloc(16, HandPeer.#nextId++), ...hello }));
    await pair.clock.settle();
    return peer;
  }
  static #nextId = 100;

  send(...frames: readonly Buffer[]): void {
    this.stream.write([Buffer.concat(frames)]);
  }

  onHead(head: FrameHead, bytes: Buffer, metaStart: number): undefined {
    const text = bytes.toString('utf8', metaStart, metaStart + head.metaBytes);
    const { type, status, requestId, payloadBytes } = head;
    this.#answer = { type, status, requestId, text, payloadBytes };
  }

  onFrameEnd(): boolean {
    this.answers.push(this.#answer);
    return true;
  }
}

const STATUS_INVALID = 4;
const STATUS_CORRUPT = 8;

test('a write by hand is done and answered with its request id', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair);
  peer.send(hand.write(77, { objectIndex: 1, seq: 1 }));
  await pair.clock.settle();
  t.deepEqual(peer.answers.slice(1), [
    { type: 3, status: 0, requestId: 77, text: '', payloadBytes: 0 },
  ]);
  t.deepEqual(pair.node.calls, ['write 1@1']);
});

test('a write whose payload does not match is answered corrupt, and nothing is applied', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair);
  const payload = Buffer.alloc(2 * BLOCK_BYTES, 1);
  const good = crc32(payload.subarray(0, BLOCK_BYTES));
  const extents = [[0, 2, 2]] as const;
  const bad = { objectIndex: 1, seq: 1, extents, payload, crcs: [good, good ^ 1] };
  peer.send(hand.write(5, bad), hand.write(6, { objectIndex: 2, seq: 1 }));
  await pair.clock.settle();
  t.deepEqual(
    peer.answers.slice(1).map(({ requestId, status }) => [requestId, status]),
    [
      [5, STATUS_CORRUPT],
      [6, 0],
    ],
  );
  t.deepEqual(pair.node.calls, ['write 2@1']);
  t.is(pair.server.stats.corruptRequests, 1);
});

test('an install and a repair whose payload does not match never reach the node', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair);
  const change = [hand.u48(5), hand.u32(3), hand.u48(6), hand.u32(1), hand.version(3, 1)];
  const payload = Buffer.alloc(BLOCK_BYTES, 1);
  const install = [...change, hand.u16(1), hand.u16(0), Buffer.of(2), hand.u32(1)];
  const repair = [...change, hand.u16(0), hand.u16(1), hand.u32(1)];
  peer.send(
    hand.frame({ type: 10, requestId: 1, meta: Buffer.concat(install), payload }),
    hand.frame({ type: 12, requestId: 2, meta: Buffer.concat(repair), payload }),
  );
  await pair.clock.settle();
  t.deepEqual(
    peer.answers.slice(1).map(({ status }) => status),
    [STATUS_CORRUPT, STATUS_CORRUPT],
  );
  t.deepEqual(pair.node.calls, []);
});

test('a request of an unknown type is invalid, and the connection goes on', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair);
  const unknown = { type: 99, requestId: 1, meta: Buffer.alloc(9), payload: Buffer.alloc(70_000) };
  peer.send(hand.frame(unknown), hand.write(2, { objectIndex: 1, seq: 1 }));
  await pair.clock.settle();
  t.deepEqual(
    peer.answers.slice(1).map(({ type, requestId, status }) => [type, requestId, status]),
    [
      [99, 1, STATUS_INVALID],
      [3, 2, 0],
    ],
  );
});

test('requests whose bodies make no sense are invalid, and the connection goes on', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair);
  const types = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
  for (const metaBytes of [1, 25, 200]) {
    for (const type of types) {
      peer.send(hand.frame({ type, requestId: type, meta: Buffer.alloc(metaBytes, 0xff) }));
    }
  }
  await pair.clock.settle();
  t.is(peer.answers.length, 1 + 3 * types.length);
  t.true(peer.answers.slice(1).every(({ status }) => status === STATUS_INVALID));
  t.deepEqual(pair.node.calls, []);
  t.is(peer.state, 'open');
});

for (const [what, bytes, reason] of [
  ['garbage', Buffer.alloc(100, 0x41), /no frame header/],
  ['a request before the greeting', hand.read(1, 1, 1, 1), /before the greeting/],
  ['an answer', hand.frame({ type: 3, flags: 1 }), /an answer where a request/],
  ['a greeting of 2 KiB', hand.frame({ type: 1, meta: Buffer.alloc(2048) }), /2048 bytes of meta/],
  ['a greeting with a payload', hand.frame({ type: 1, payload: Buffer.alloc(9) }), /greeting/],
  [
    'requests right behind the greeting',
    Buffer.concat([hand.hello(), hand.read(1, 1, 1, 1)]),
    /before/,
  ],
] as const) {
  test(`${what} closes the connection with a logged reason, and costs nobody else anything`, async (t) => {
    const pair = await makePair();
    await pair.client.space();
    const peer = await HandPeer.connect(pair);
    peer.send(bytes);
    await pair.clock.settle();
    t.is(peer.state, 'closed');
    t.true(
      pair.log.lines.some((line) => reason.test(line)),
      pair.log.lines.join('\n'),
    );
    t.is(pair.server.stats.connectionsBroken, 1);
    t.is(pair.server.stats.connections, 1);
    await t.notThrowsAsync(pair.client.write(writeOf(1, 1)));
    t.is(pair.client.stats.connects, 1);
  });
}

test('a second greeting closes the connection', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair);
  peer.send(hand.hello());
  await pair.clock.settle();
  t.is(peer.state, 'closed');
});

for (const [what, hello, reason] of [
  ['newer versions only', { versions: [2, 9] }, /2 to 9 asked for; node n1 speaks 1 to 1/],
  ['older versions only', { versions: [0, 0] }, /0 to 0 asked for/],
  ['an unknown role', { role: 77 }, /unknown role 77/],
  ['the name of another node', { node: 'n9' }, /this is node n1, not n9/],
  ['the id of another cluster', { cluster: 'other' }, /this is cluster cluster, not other/],
] as const) {
  test(`a greeting with ${what} is answered with the reason`, async (t) => {
    const pair = await makePair();
    const peer = await HandPeer.greeted(pair, hello);
    t.is(peer.answers[0]?.status, STATUS_INVALID);
    t.regex(peer.answers[0]!.text, reason);
    await pair.clock.advance(4000);
    t.is(peer.state, 'closed', 'it does not stay for ever');
  });
}

test('of a range of versions the newest that both speak is chosen', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair, { versions: [0, 9] });
  t.is(peer.answers[0]?.status, 0);
  t.is(Buffer.from(peer.answers[0]!.text).readUInt16LE(0), 1);
});

test('a peer that does not greet is gone after the limit', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.connect(pair);
  peer.send(hand.hello().subarray(0, 20));
  await pair.clock.advance(2900);
  t.is(peer.state, 'open');
  await pair.clock.advance(200);
  t.is(peer.state, 'closed');
});

test('connections beyond the limit are closed', async (t) => {
  const pair = await makePair({ server: { connectionsMax: 2 } });
  await pair.client.space();
  await HandPeer.greeted(pair);
  const third = await HandPeer.connect(pair);
  await pair.clock.settle();
  t.is(third.state, 'closed');
  t.is(pair.server.stats.connectionsRefused, 1);
  await t.notThrowsAsync(pair.client.space());
});

test('a peer without a sign of life is dropped, one that pings is kept', async (t) => {
  const pair = await makePair({ server: { idleLimitMs: 20_000 } });
  await pair.client.space();
  const peer = await HandPeer.greeted(pair);
  await pair.clock.advance(30_000);
  t.is(peer.state, 'closed');
  t.is(pair.client.state, 'up');
  t.is(pair.client.stats.connects, 1);
});

test('an earlier connection of the same client is ended by a later one, not the reverse', async (t) => {
  const pair = await makePair();
  const clientId = Buffer.alloc(16, 1);
  const first = await HandPeer.greeted(pair, { clientId, connectionNumber: 4 });
  const second = await HandPeer.greeted(pair, { clientId, connectionNumber: 5 });
  t.is(first.state, 'closed');
  t.is(second.answers[0]?.status, 0);
  const late = await HandPeer.greeted(pair, { clientId, connectionNumber: 4 });
  t.is(late.answers[0]?.status, STATUS_INVALID);
  t.is(second.state, 'open');
});

test('a third connection waits for what the first one asked', async (t) => {
  const pair = await makePair();
  const clientId = Buffer.alloc(16, 2);
  const first = await HandPeer.greeted(pair, { clientId, connectionNumber: 1 });
  const gate = Promise.withResolvers<void>();
  pair.node.gate = gate.promise;
  first.send(hand.write(1, { objectIndex: 1, seq: 1 }));
  await pair.clock.settle();
  await HandPeer.greeted(pair, { clientId, connectionNumber: 2 });
  const third = await HandPeer.greeted(pair, { clientId, connectionNumber: 3 });
  t.deepEqual(third.answers, []);
  gate.resolve();
  await pair.clock.settle();
  t.is(third.answers[0]?.status, 0);
});

test('what one connection holds is bounded: no more is read until answers were taken', async (t) => {
  const connectionInFlight = { heldBytesMax: 10 * BLOCK_BYTES, requestsMax: 1000 };
  const pair = await makePair({ server: { connectionInFlight } });
  const peer = await HandPeer.greeted(pair);
  const gate = Promise.withResolvers<void>();
  pair.node.gate = gate.promise;
  const reads = Array.from({ length: 50 }, (_, i) => hand.read(i, 1, 0, 4));
  peer.send(...reads);
  await pair.clock.settle();
  t.is(pair.node.calls.length, 3, 'ten blocks, and up to one request more');
  t.is(pair.server.stats.heldBytes, 12 * BLOCK_BYTES);
  t.is(pair.server.stats.halts, 1);
  const { receivedBytes } = pair.server.stats;
  peer.send(hand.read(50, 1, 0, 4));
  await pair.clock.settle();
  t.is(pair.server.stats.receivedBytes, receivedBytes, 'nothing is read while it is halted');
  gate.resolve();
  pair.node.gate = undefined;
  for (let i = 0; i < 10; i += 1) await pair.clock.settle();
  t.is(peer.answers.length, 52);
  t.is(pair.server.stats.heldBytes, 0);
});

test('requests are bounded too, those that hold no bytes included', async (t) => {
  const connectionInFlight = { heldBytesMax: 2 ** 30, requestsMax: 5 };
  const pair = await makePair({ server: { connectionInFlight } });
  const peer = await HandPeer.greeted(pair);
  const gate = Promise.withResolvers<void>();
  pair.node.gate = gate.promise;
  peer.send(...Array.from({ length: 50 }, (_, i) => hand.frame({ type: 14, requestId: i })));
  await pair.clock.settle();
  t.is(pair.node.calls.length, 5);
  gate.resolve();
  for (let i = 0; i < 10; i += 1) await pair.clock.settle();
  t.is(peer.answers.length, 51);
});

test('a peer that never reads is halted, and the others are served', async (t) => {
  const connectionInFlight = { heldBytesMax: 64 * BLOCK_BYTES, requestsMax: 4096 };
  const pair = await makePair({ server: { connectionInFlight } });
  await pair.client.write(writeOf(1, 1, 16));
  const peer = await HandPeer.greeted(pair);
  peer.stream.pause();
  for (let i = 0; i < 100; i += 1) peer.send(hand.read(i, 1, 1, 16));
  peer.send(...Array.from({ length: 5000 }, (_, i) => hand.frame({ type: 2, requestId: i })));
  for (let i = 0; i < 10; i += 1) await pair.clock.settle();
  t.true(pair.server.stats.heldBytes <= 80 * BLOCK_BYTES, `${pair.server.stats.heldBytes}`);
  t.true(pair.node.calls.length < 50, `${pair.node.calls.length} calls`);
  await t.notThrowsAsync(pair.client.write(writeOf(2, 1)));
  peer.stream.resume();
  for (let i = 0; i < 30; i += 1) await pair.clock.settle();
  t.is(peer.answers.length, 5101);
  t.is(pair.server.stats.heldBytes, 0);
});

test('all connections together are bounded, and each goes on with one request', async (t) => {
  const pair = await makePair({ server: { serverHeldBytesMax: 8 * BLOCK_BYTES } });
  const gate = Promise.withResolvers<void>();
  pair.node.gate = gate.promise;
  const peers = [];
  for (let i = 0; i < 3; i += 1) {
    const peer = await HandPeer.greeted(pair);
    peer.send(...Array.from({ length: 10 }, (_, id) => hand.read(id, 1, 0, 4)));
    await pair.clock.settle();
    peers.push(peer);
  }
  t.is(pair.node.calls.length, 4, 'two of the first, one of each other');
  gate.resolve();
  pair.node.gate = undefined;
  for (let i = 0; i < 20; i += 1) await pair.clock.settle();
  for (const peer of peers) t.is(peer.answers.length, 11);
  t.is(pair.server.stats.heldBytes, 0);
});

test('what a connection held is free when it ends, that of running calls when they end', async (t) => {
  const pair = await makePair();
  const peer = await HandPeer.greeted(pair);
  const gate = Promise.withResolvers<void>();
  pair.node.gate = gate.promise;
  const half = hand.write(3, { objectIndex: 2, seq: 1 }).subarray(0, 1000);
  peer.send(hand.write(1, { objectIndex: 1, seq: 1 }), hand.read(2, 1, 0, 8), half);
  await pair.clock.settle();
  t.is(pair.server.stats.heldBytes, 10 * BLOCK_BYTES);
  peer.stream.destroy();
  await pair.clock.settle();
  t.is(pair.server.stats.heldBytes, 9 * BLOCK_BYTES);
  gate.resolve();
  await pair.clock.settle();
  t.is(pair.server.stats.heldBytes, 0);
});

test('close waits for the calls that are running', async (t) => {
  const pair = await makePair();
  await pair.client.space();
  const gate = Promise.withResolvers<void>();
  pair.node.gate = gate.promise;
  const write = pair.client.write(writeOf(1, 1));
  await pair.clock.settle();
  let state = 'closing';
  const closed = pair.server.close().then(() => {
    state = 'closed';
  });
  await pair.clock.settle();
  t.is(state, 'closing');
  gate.resolve();
  await closed;
  pair.client.close();
  await t.throwsAsync(write);
});

test('a peer that vanishes at any byte leaves nothing behind', async (t) => {
  const pair = await makePair();
  await pair.client.space();
  const stream = Buffer.concat([
    hand.hello({ clientId: Buffer.alloc(16, 3) }),
    hand.write(1, { objectIndex: 1, seq: 1, payload: Buffer.alloc(BLOCK_BYTES, 2) }),
  ]);
  const hello = hand.hello().length;
  const cuts = [...Array.from({ length: hello + 120 }, (_, i) => i), stream.length - 1];
  for (const cut of cuts) {
    const peer = await HandPeer.connect(pair);
    peer.send(stream.subarray(0, Math.min(cut, hello)));
    if (cut > hello) {
      await pair.clock.settle();
      peer.send(stream.subarray(hello, cut));
    }
    peer.stream.destroy();
  }
  await pair.clock.settle();
  t.is(pair.server.stats.connections, 1);
  t.is(pair.server.stats.heldBytes, 0);
  t.deepEqual(pair.node.calls, ['space']);
});

test('random bytes behind a good greeting cost at most their own connection', async (t) => {
  const random = new SeededRandom(Number(process.env['DROVER_TEST_SEED'] ?? Date.now()));
  t.log(`seed ${random.seed}`);
  const pair = await makePair();
  for (let round = 0; round < 100; round += 1) {
    const peer = await HandPeer.greeted(pair, { connectionNumber: round + 1 });
    const frames = [
      hand.write(1, { objectIndex: 1, seq: 1 }),
      hand.frame({
        type: random.below(20),
        meta: Buffer.from(Array.from({ length: random.below(80) }, () => random.below(256))),
        payload: Buffer.alloc(random.below(3) * 2048),
      }),
    ];
    const bytes = Buffer.concat(frames);
    if (random.below(2) === 0) bytes[random.below(bytes.length)] = random.below(256);
    peer.send(bytes);
    await pair.clock.settle();
    peer.stream.destroy();
  }
  await pair.clock.settle();
  t.is(pair.server.stats.heldBytes, 0);
  await t.notThrowsAsync(pair.client.space());
});

test('a server stays awake for what follows a read, not for what follows a write', async (t) => {
  const clock = new ManualClock();
  const awake: (() => void)[] = [];
  const counted: Clock = {
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs(),
    setTimer: (delayMs, fire) => clock.setTimer(delayMs, fire),
    endOfTurn: (run) => awake.push(run),
  };
  const { client } = await makePair({
    server: { clock: counted, busyPoll: { answeredMs: 0.05, sentOnMs: 0 } },
  });
  await client.write(writeOf(1, 1));
  t.is(awake.length, 0);
  await client.read(readOf(1, 1), [Buffer.alloc(BLOCK_BYTES)]);
  t.is(awake.length, 1);
});
