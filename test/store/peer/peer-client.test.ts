import test from 'ava';
import { BlockKind } from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import type { PeerClient } from '../../../store/peer/peer-client.ts';
import { DroverError, isDroverError } from '../../../store/runtime/drover-error.ts';
import { MemoryNode } from './memory-node.ts';
import { content, crcsOf, makePair, PORT, readOf, writeOf } from './peer-pair.ts';

const KEY = { layerId: 6, objectIndex: 1 };
const LEASE = { volumeId: 5, epoch: 3 };

test('what is written is read back, whatever the chunks', async (t) => {
  const { client } = await makePair({ network: { cutChunks: true } });
  const request = writeOf(1, 1, 40);
  await client.write(request);
  const into = [Buffer.alloc(3 * BLOCK_BYTES), Buffer.alloc(37 * BLOCK_BYTES)];
  const result = await client.read(readOf(1, 1, 40), into);
  t.deepEqual(Buffer.concat(into), request.payload[0]);
  t.deepEqual(result.blockCrcs, request.blockCrcs);
  t.true(result.kinds.every((kind) => kind === BlockKind.data));
});

test('a read leaves the places of holes and zeros as they are', async (t) => {
  const { client } = await makePair();
  const bytes = content(3, 9);
  await client.write({
    ...writeOf(1, 1),
    extents: [
      { startBlock: 1, blockCount: 2, kind: BlockKind.data },
      { startBlock: 3, blockCount: 1, kind: BlockKind.zero },
      { startBlock: 5, blockCount: 1, kind: BlockKind.data },
    ],
    blockCrcs: crcsOf(bytes),
    payload: [bytes.subarray(0, BLOCK_BYTES), bytes.subarray(BLOCK_BYTES)],
  });
  const into = [Buffer.alloc(2 * BLOCK_BYTES, 0xee), Buffer.alloc(4 * BLOCK_BYTES, 0xee)];
  const { kinds, blockCrcs } = await client.read(readOf(1, 1, 6), into);
  t.deepEqual([...kinds], [0, 2, 2, 1, 0, 2]);
  const [first, second, third] = crcsOf(bytes);
  t.deepEqual([...blockCrcs], [0, first, second, 0, 0, third]);
  const kept = Buffer.alloc(BLOCK_BYTES, 0xee);
  const block = (index: number) => bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
  t.deepEqual(Buffer.concat(into), Buffer.concat([kept, block(0), block(1), kept, kept, block(2)]));
});

test('every other operation gives what the node gives', async (t) => {
  const { client, node } = await makePair({ network: { cutChunks: true } });
  const bytes = content(2, 4);
  await client.adoptEpoch(5, 3);
  const version = { epoch: 3, seq: 2 ** 40 + 5 };
  const kinds = Uint8Array.of(2, 0, 1, 2);
  const [first, second] = crcsOf(bytes);
  const blockCrcs = Uint32Array.of(first!, 0, 0, second!);
  await client.install({ ...KEY, ...LEASE, version, kinds, blockCrcs, payload: [bytes] });
  t.deepEqual(await client.map(KEY, 4), kinds);
  t.deepEqual(await client.describeObject(KEY, 4), { version, kinds, blockCrcs });
  const fixed = content(1, 8);
  const repair = { ...KEY, ...LEASE, version, startBlock: 3, blockCrcs: crcsOf(fixed) };
  await client.repair({ ...repair, payload: [fixed] });
  t.is((await client.describeObject(KEY, 4)).blockCrcs[3], crcsOf(fixed)[0]);
  const page = await client.listVersions(6, 0, 10);
  t.deepEqual(page, {
    count: 1,
    objectIndexes: Uint32Array.of(1),
    epochs: Uint32Array.of(3),
    seqs: Float64Array.of(2 ** 40 + 5),
  });
  t.deepEqual(await client.space(), await node.space());
  t.deepEqual(await client.listLayers(), [6]);
  await client.removeObject({ ...KEY, ...LEASE });
  t.deepEqual(await client.listLayers(), []);
  await client.write(writeOf(2, 1));
  await client.removeLayer(6);
  t.is((await client.listVersions(6, 0, 10)).count, 0);
});

test('an error keeps its kind and message, and one without a kind is unavailable', async (t) => {
  const { client, node } = await makePair();
  const kinds = ['fenced', 'conflict', 'outOfSpace', 'invalid', 'corrupt', 'readOnly'] as const;
  for (const kind of kinds) {
    node.write = () => Promise.reject(new DroverError(kind, `because of ${kind}`));
    const error = await t.throwsAsync(client.write(writeOf(1, 1)));
    t.true(isDroverError(error, kind));
    t.is(error?.message, `node n1: because of ${kind}`);
  }
  node.read = () => Promise.reject(new TypeError('a bug'));
  const error = await t.throwsAsync(client.read(readOf(1, 1), [Buffer.alloc(BLOCK_BYTES)]));
  t.true(isDroverError(error, 'unavailable'));
});

test('writes reach the node in the order sent, and answers come in any order', async (t) => {
  const { client, node } = await makePair();
  const gates = new Map<number, () => void>();
  const write = node.write.bind(node);
  node.write = async (request) => {
    node.calls.push(`arrived ${request.objectIndex}`);
    await new Promise<void>((resolve) => gates.set(request.objectIndex, resolve));
    return write(request);
  };
  const answered: number[] = [];
  const calls = [0, 1, 2, 3].map((index) =>
    client.write(writeOf(index, 1)).then(() => answered.push(index)),
  );
  await client.space();
  t.deepEqual(node.calls.slice(0, 4), ['arrived 0', 'arrived 1', 'arrived 2', 'arrived 3']);
  for (const index of [2, 0, 3, 1]) {
    gates.get(index)!();
    await client.space();
  }
  await Promise.all(calls);
  t.deepEqual(answered, [2, 0, 3, 1]);
});

test('what was not answered is sent again in the original order after a reconnect', async (t) => {
  const { client, node, network, clock } = await makePair();
  await client.space();
  const gate = Promise.withResolvers<void>();
  node.gate = gate.promise;
  const calls = [1, 2, 3].map((index) => client.write(writeOf(index, 1)));
  await clock.settle();
  node.calls.length = 0;
  network.breakStreams(PORT);
  await clock.settle();
  t.is(client.state, 'down');
  const later = client.write(writeOf(4, 1));
  gate.resolve();
  await clock.advance(200);
  await Promise.all([...calls, later]);
  t.deepEqual(node.calls, ['write 1@1', 'write 2@1', 'write 3@1', 'write 4@1']);
  t.is(client.stats.resends, 3);
  t.is(client.state, 'up');
});

test('a reconnected client is served only when nothing it asked before is running', async (t) => {
  const { client, node, clock } = await makePair();
  await client.space();
  const gate = Promise.withResolvers<void>();
  node.gate = gate.promise;
  const kinds = Uint8Array.of(1);
  const install = { ...KEY, ...LEASE, version: { epoch: 3, seq: 1 }, kinds };
  const old = client.install({ ...install, blockCrcs: new Uint32Array(1), payload: [] });
  await clock.settle();
  t.is(node.calls.at(-1), 'install 1@1');
  client.abandon('it was slow');
  await t.throwsAsync(old, { message: /abandoned: it was slow/ });
  node.gate = undefined;
  const next = client.write({ ...writeOf(2, 1) });
  await clock.advance(1000);
  t.is(node.calls.at(-1), 'install 1@1', 'the write must wait for the install of before');
  t.is(client.state, 'connecting');
  gate.resolve();
  await clock.settle();
  await next;
  t.is(node.calls.at(-1), 'write 2@1');
});

test('of a frozen node that wakes up, an abandoned write is done before later ones or not at all', async (t) => {
  const { client, node, network, clock } = await makePair();
  await client.write(writeOf(1, 1));
  network.freeze(PORT);
  const lost = client.write(writeOf(1, 2));
  await clock.settle();
  client.abandon('silent');
  await t.throwsAsync(lost);
  const later = client.write(writeOf(2, 1));
  await clock.advance(1000);
  network.heal(PORT);
  await clock.advance(10_000);
  await later;
  const order = node.calls.filter((call) => call !== 'write 1@1');
  t.is(order.at(-1), 'write 2@1');
  t.true(order.length <= 2);
});

test('abandon rejects everything, and sends nothing of it later', async (t) => {
  const { client, node, network, clock } = await makePair();
  await client.space();
  network.refuse(PORT);
  await clock.settle();
  const into = Buffer.alloc(BLOCK_BYTES, 0xee);
  const calls = [client.write(writeOf(1, 1)), client.read(readOf(1, 1), [into])];
  client.abandon('taken out');
  for (const call of calls) {
    t.true(isDroverError(await t.throwsAsync(call), 'unavailable'));
  }
  network.heal(PORT);
  await clock.advance(3000);
  await client.space();
  t.deepEqual(node.calls, ['space', 'space']);
  t.true(into.every((byte) => byte === 0xee));
});

test('abandon ends the old connection at once, even if no new one can be made', async (t) => {
  const { client, server, clock } = await makePair();
  await client.space();
  client.changeAddress({ host: 'sim', port: 99 });
  client.abandon('taken out');
  await clock.settle();
  t.is(server.stats.connections, 0);
  t.is(client.state, 'down');
});

test('abandon from the listener that hears of `up` keeps old calls from the new connection', async (t) => {
  const { client, node, network, clock } = await makePair();
  await client.space();
  network.breakStreams(PORT);
  await clock.settle();
  const old = client.write(writeOf(1, 1));
  let next: Promise<unknown> | undefined;
  const stop = client.onStateChange((state) => {
    if (state !== 'up') return;
    stop();
    client.abandon('it was opened anew');
    next = client.space();
  });
  const failed = t.throwsAsync(old);
  await clock.advance(3000);
  await failed;
  await next;
  t.deepEqual(node.calls, ['space', 'space']);
  t.is(client.state, 'up');
});

for (const [what, act, ends] of [
  ['abandons', (client: PeerClient) => client.abandon('at once'), 'up'],
  ['closes', (client: PeerClient) => client.close(), 'closed'],
] as const) {
  for (const cause of ['a broken stream', 'an abandoning'] as const) {
    test(`a listener that hears of \`down\` by ${cause} and ${what} is heard`, async (t) => {
      const { client, network, clock } = await makePair();
      await client.space();
      const stop = client.onStateChange((state) => {
        if (state !== 'down') return;
        stop();
        act(client);
      });
      if (cause === 'a broken stream') network.breakStreams(PORT);
      else client.abandon('slow');
      await clock.advance(2000);
      t.is(client.state, ends);
    });
  }
}

test('close rejects what is outstanding and what is asked later', async (t) => {
  const { client, node, clock } = await makePair();
  await client.space();
  const gate = Promise.withResolvers<void>();
  node.gate = gate.promise;
  const call = client.space();
  await clock.settle();
  client.close();
  t.true(isDroverError(await t.throwsAsync(call), 'unavailable'));
  t.true(isDroverError(await t.throwsAsync(client.space()), 'unavailable'));
  t.is(client.state, 'closed');
  gate.resolve();
});

test('beyond the limit in flight calls wait, and go in their order', async (t) => {
  const inFlight = { heldBytesMax: 4 * BLOCK_BYTES, requestsMax: 100 };
  const { client, node, clock } = await makePair({ client: { inFlight, waitingCallsMax: 8 } });
  await client.space();
  node.calls.length = 0;
  const gate = Promise.withResolvers<void>();
  node.gate = gate.promise;
  const calls = [3, 2, 1, 1].map((blocks, index) => client.write(writeOf(index, 1, blocks)));
  await clock.settle();
  t.deepEqual(node.calls, ['write 0@1'], 'the second does not fit, and none overtakes it');
  gate.resolve();
  await Promise.all(calls);
  t.deepEqual(node.calls, ['write 0@1', 'write 1@1', 'write 2@1', 'write 3@1']);
});

test('a call larger than the limit goes alone', async (t) => {
  const inFlight = { heldBytesMax: BLOCK_BYTES, requestsMax: 100 };
  const { client } = await makePair({ client: { inFlight } });
  await t.notThrowsAsync(client.write(writeOf(1, 1, 16)));
});

test('calls beyond those that may wait are rejected', async (t) => {
  const { client, network, clock } = await makePair({ client: { waitingCallsMax: 2 } });
  network.refuse(PORT);
  await clock.settle();
  const waiting = [client.space(), client.space()];
  t.true(isDroverError(await t.throwsAsync(client.space()), 'unavailable'));
  network.heal(PORT);
  await clock.advance(2000);
  await t.notThrowsAsync(Promise.all(waiting));
});

test('a silent node is noticed without traffic, and connected anew when it wakes up', async (t) => {
  const { client, network, clock } = await makePair();
  await client.space();
  await clock.advance(3000);
  t.is(client.health.silentSinceMs, undefined, 'pings are answered');
  const frozenMs = clock.nowMs();
  network.freeze(PORT);
  await clock.advance(2500);
  t.is(client.state, 'up');
  t.true(
    client.health.silentSinceMs! >= frozenMs && client.health.silentSinceMs! < frozenMs + 2000,
  );
  await clock.advance(6000);
  t.not(client.state, 'up');
  t.is(client.health.refusedSinceMs, undefined);
  network.heal(PORT);
  await clock.advance(5000);
  t.is(client.state, 'up');
  t.is(client.health.silentSinceMs, undefined);
});

test('a connection that is given up does not start the silence of its node anew', async (t) => {
  const { client, network, clock } = await makePair();
  await client.space();
  network.freeze(PORT);
  const call = client.space();
  const askedMs = clock.nowMs();
  await clock.advance(2000);
  t.is(client.health.silentSinceMs, askedMs);
  client.abandon('for another volume');
  await t.throwsAsync(call, { message: /abandoned/ });
  t.is(client.health.silentSinceMs, askedMs);
  await clock.advance(2000);
  t.not(client.state, 'up');
  t.is(client.health.silentSinceMs, askedMs);
  network.heal(PORT);
  await clock.advance(5000);
  t.is(client.state, 'up');
  t.is(client.health.silentSinceMs, undefined);
  client.abandon('a connection that owes nothing');
  t.is(client.health.silentSinceMs, clock.nowMs());
});

test('a refused node is known as refused from the first refusal until it is up', async (t) => {
  const { client, network, clock } = await makePair();
  await client.space();
  network.refuse(PORT);
  await clock.advance(100);
  const sinceMs = client.health.refusedSinceMs!;
  await clock.advance(5000);
  t.is(client.health.refusedSinceMs, sinceMs);
  network.heal(PORT);
  await clock.advance(1500);
  t.is(client.health.refusedSinceMs, undefined);
  t.is(client.state, 'up');
});

test('connections that are accepted and then closed count as refused, from the first loss', async (t) => {
  const { client, server, network, clock } = await makePair();
  await client.space();
  const lostMs = clock.nowMs();
  await server.close();
  // A proxy in front of a dead node takes some connections at their word before it closes them.
  let accepted = 0;
  await network.listen({ host: 'sim', port: PORT }, (stream) => {
    accepted += 1;
    if (accepted % 2 === 0) stream.destroy();
    return { onData: () => stream.destroy(), onDrain: () => {}, onClose: () => {} };
  });
  await clock.advance(3000);
  t.true(accepted >= 4, `${accepted}`);
  t.is(client.health.refusedSinceMs, lostMs);
});

test('a proxy that takes its time to close counts as refused each time it has closed', async (t) => {
  const { client, server, network, clock } = await makePair();
  await client.space();
  const lostMs = clock.nowMs();
  await server.close();
  await network.listen({ host: 'sim', port: PORT }, (stream) => ({
    onData: () => clock.setTimer(2000, () => stream.destroy()),
    onDrain: () => {},
    onClose: () => {},
  }));
  await clock.advance(1500);
  t.is(client.state, 'connecting');
  t.is(client.health.refusedSinceMs, undefined, 'so far it is silent');
  await clock.advance(600);
  t.is(client.health.refusedSinceMs, lostMs);
});

for (const condition of ['freeze', 'lose'] as const) {
  test(`a lost connection, and then silence (${condition}), is not a refusal`, async (t) => {
    const { client, network, clock } = await makePair();
    await client.space();
    const lostMs = clock.nowMs();
    network.breakStreams(PORT);
    network[condition](PORT);
    await clock.advance(900);
    t.is(client.state, 'connecting');
    t.is(client.health.refusedSinceMs, undefined);
    t.is(client.health.silentSinceMs, lostMs);
    await clock.advance(5000);
    t.is(client.health.refusedSinceMs, undefined);
    network.heal(PORT);
    network.refuse(PORT);
    const refusedMs = clock.nowMs();
    await clock.advance(4000);
    t.true(client.health.refusedSinceMs! >= refusedMs, 'refused only since somebody says so');
  });
}

test('attempts become rarer, up to one a second', async (t) => {
  const { client, network, clock } = await makePair();
  await client.space();
  network.refuse(PORT);
  await clock.advance(1000);
  const firstSecond = client.stats.connectFailures;
  t.true(firstSecond >= 4 && firstSecond <= 12, `${firstSecond}`);
  await clock.advance(10_000);
  const later = client.stats.connectFailures - firstSecond;
  t.true(later >= 9 && later <= 22, `${later}`);
});

for (const [what, options, reason] of [
  ['another node', { nodeId: 'n2' }, /this is node n1, not n2/],
  ['another cluster', { clusterId: 'other' }, /this is cluster cluster, not other/],
] as const) {
  test(`a client that looks for ${what} is refused with the reason`, async (t) => {
    const { connect, clock, node, log } = await makePair();
    const client = connect(options);
    const call = client.space();
    await clock.advance(500);
    t.not(client.state, 'up');
    t.regex(client.health.lastFailure!, reason);
    t.not(client.health.refusedSinceMs, undefined);
    t.deepEqual(node.calls, []);
    t.true(log.lines.some((line) => reason.test(line)));
    client.close();
    await t.throwsAsync(call);
  });
}

test('the identity is that of the node that answered last', async (t) => {
  const { client, server, network, listen, clock } = await makePair();
  await client.space();
  t.is(client.identity?.directoryId, 'd1');
  t.is(client.identity?.openId, 'o1');
  await server.close();
  network.breakStreams(PORT);
  await listen({ identity: { nodeId: 'n1', directoryId: 'd1', openId: 'o2' } });
  await clock.advance(1000);
  t.is(client.identity?.openId, 'o2');
});

test('an answer spoilt on its way costs the connection, and the call is answered again', async (t) => {
  const { client, node, network, clock, log } = await makePair();
  await client.write(writeOf(1, 1, 3));
  let spoilt = 0;
  network.spoil = (bytes, _port, toServer) => {
    if (toServer || spoilt > 0) return;
    spoilt += 1;
    // A kind, behind the header of 24 bytes and two counts.
    bytes[28]! ^= 1;
  };
  const into = Buffer.alloc(3 * BLOCK_BYTES);
  const read = client.read(readOf(1, 1, 3), [into]);
  await clock.advance(500);
  await read;
  t.deepEqual(into, content(3, 1));
  t.is(node.calls.filter((call) => call.startsWith('read')).length, 2);
  t.true(log.lines.some((line) => line.includes('checksum')));
});

test('latencies are kept for each operation', async (t) => {
  const { client, node, clock } = await makePair();
  await client.space();
  const gate = Promise.withResolvers<void>();
  node.gate = gate.promise;
  const write = client.write(writeOf(1, 1));
  await clock.advance(40);
  gate.resolve();
  await write;
  t.is(client.stats.write.answers, 1);
  t.is(client.stats.write.ewmaMs, 40);
  t.is(client.stats.write.latencySeconds.sum, 0.04);
  await t.throwsAsync(client.read(readOf(1, 9), [Buffer.alloc(BLOCK_BYTES)]));
  t.is(client.stats.read.errors, 1);
});

test('a list longer than a page of the protocol is asked for in pages', async (t) => {
  const node = new MemoryNode('n1');
  const asked: number[] = [];
  node.listVersions = async (_layerId, from, limit) => {
    asked.push(limit);
    const count = Math.min(limit, 300_000 - from);
    const objectIndexes = Uint32Array.from({ length: count }, (_, i) => from + i);
    return {
      count,
      objectIndexes,
      epochs: new Uint32Array(count).fill(1),
      seqs: new Float64Array(count).fill(7),
    };
  };
  const { client } = await makePair({ node });
  const page = await client.listVersions(6, 0, 400_000);
  t.is(page.count, 300_000);
  t.is(page.objectIndexes[299_999], 299_999);
  t.is(page.seqs[299_999], 7);
  t.deepEqual(asked, [262_144, 400_000 - 262_144]);
});
