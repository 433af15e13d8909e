import test from 'ava';
import { BufferPool } from '../../../store/peer/buffer-pool.ts';
import { COPIED_PAYLOAD_BYTES_MAX, SLAB_BYTES } from '../../../store/peer/limits.ts';
import { SendQueue } from '../../../store/peer/send-queue.ts';
import type { NetworkStream } from '../../../store/runtime/network.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import * as hand from './frames-by-hand.ts';

/** A stream that keeps the buffers it was given until the test says they were sent. */
class HeldStream implements NetworkStream {
  readonly peerName = 'held';
  readonly writes: (readonly Buffer[])[] = [];
  readonly received: Buffer[] = [];
  readonly #sent: (() => void)[] = [];
  goOn = true;

  write(buffers: readonly Buffer[], onSent?: () => void): boolean {
    this.writes.push(buffers);
    this.#sent.push(() => {
      // Only now are the bytes looked at: a slab used again too early shows.
      this.received.push(...buffers.map((buffer) => Buffer.from(buffer)));
      onSent?.();
    });
    return this.goOn;
  }

  sendOne(): boolean {
    const next = this.#sent.shift();
    next?.();
    return next !== undefined;
  }

  sendAll(): Buffer {
    while (this.sendOne());
    return Buffer.concat(this.received);
  }

  pause(): void {}
  resume(): void {}
  destroy(): void {}
}

interface Setup {
  readonly stream: HeldStream;
  readonly queue: SendQueue;
  readonly sent: [number, number][];
  readonly traffic: { sentBytes: number };
}

function setup(): Setup {
  const stream = new HeldStream();
  const sent: [number, number][] = [];
  const traffic = { sentBytes: 0 };
  const queue = new SendQueue(stream, new BufferPool(0), traffic, (bytes, requests) =>
    sent.push([bytes, requests]),
  );
  return { stream, queue, sent, traffic };
}

function put(queue: SendQueue, requestId: number, meta: Buffer, payload: readonly Buffer[] = []) {
  const metaAt = queue.begin(meta.length);
  meta.copy(queue.buffer, metaAt);
  let payloadBytes = 0;
  for (const buffer of payload) payloadBytes += buffer.length;
  queue.finish(metaAt, 9, 0, 0, requestId, meta.length, payloadBytes);
  queue.payload(payload);
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('frames of one turn, and of its microtasks, leave in one write', async (t) => {
  const { stream, queue } = setup();
  put(queue, 1, Buffer.from('one'));
  await Promise.resolve();
  put(queue, 2, Buffer.from('two'), [Buffer.alloc(4096, 7)]);
  await Promise.resolve();
  put(queue, 3, Buffer.from('three'));
  t.is(stream.writes.length, 0);
  await turn();
  t.is(stream.writes.length, 1);
  t.is(stream.writes[0]!.length, 1, 'small payload is copied behind its head');
  const frames = [
    hand.frame({ type: 9, requestId: 1, meta: Buffer.from('one') }),
    hand.frame({ type: 9, requestId: 2, meta: Buffer.from('two'), payload: Buffer.alloc(4096, 7) }),
    hand.frame({ type: 9, requestId: 3, meta: Buffer.from('three') }),
  ];
  t.deepEqual(stream.sendAll(), Buffer.concat(frames));
});

test('large payload is sent from where it is', async (t) => {
  const { stream, queue } = setup();
  const payload = Buffer.alloc(COPIED_PAYLOAD_BYTES_MAX + 1, 3);
  put(queue, 1, Buffer.alloc(5), [payload]);
  await turn();
  t.is(stream.writes[0]![1], payload);
});

test('while the stream asks to wait, frames gather, and leave together when it drains', async (t) => {
  const { stream, queue } = setup();
  stream.goOn = false;
  put(queue, 1, Buffer.alloc(1));
  await turn();
  for (let i = 2; i < 6; i += 1) {
    put(queue, i, Buffer.alloc(1));
    await turn();
  }
  t.is(stream.writes.length, 1);
  stream.goOn = true;
  queue.drained();
  t.is(stream.writes.length, 2);
  t.is(stream.sendAll().length, 5 * 25);
});

test('what was sent is told when it was sent, not when it was written', async (t) => {
  const { stream, queue, sent } = setup();
  put(queue, 1, Buffer.alloc(1));
  queue.settleWhenSent(4096, 1);
  put(queue, 2, Buffer.alloc(1));
  queue.settleWhenSent(100, 1);
  await turn();
  put(queue, 3, Buffer.alloc(1));
  queue.settleWhenSent(7, 1);
  await turn();
  t.deepEqual(sent, []);
  stream.sendOne();
  t.deepEqual(sent, [[4196, 2]]);
  stream.sendOne();
  t.deepEqual(sent, [
    [4196, 2],
    [7, 1],
  ]);
});

test('a closed queue sends nothing more', async (t) => {
  const { stream, queue } = setup();
  put(queue, 1, Buffer.alloc(1));
  queue.close();
  put(queue, 2, Buffer.alloc(1));
  await turn();
  queue.drained();
  t.deepEqual(stream.writes, []);
});

test('bytes are those queued, in order, whatever is sent when', async (t) => {
  const random = new SeededRandom(Number(process.env['DROVER_TEST_SEED'] ?? Date.now()));
  t.log(`seed ${random.seed}`);
  const { stream, queue, traffic } = setup();
  const expected: Buffer[] = [];
  for (let i = 0; i < 2000; i += 1) {
    const meta = Buffer.alloc(random.below(20) === 0 ? random.below(65_000) : random.below(60), i);
    const payload = Array.from({ length: random.below(3) }, () =>
      Buffer.alloc(random.between(1, 2 * COPIED_PAYLOAD_BYTES_MAX), i + 1),
    );
    put(queue, i, meta, payload);
    expected.push(hand.frame({ type: 9, requestId: i, meta, payload: Buffer.concat(payload) }));
    stream.goOn = random.below(4) !== 0;
    if (random.below(3) === 0) await turn();
    if (random.below(3) === 0) stream.sendOne();
    if (random.below(5) === 0) queue.drained();
  }
  for (let i = 0; i < 3; i += 1) {
    stream.goOn = true;
    queue.drained();
    await turn();
  }
  const all = Buffer.concat(expected);
  t.true(stream.sendAll().equals(all));
  t.is(traffic.sentBytes, all.length);
  t.true(all.length > 20 * SLAB_BYTES);
});
