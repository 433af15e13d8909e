import test from 'ava';
import { makeScene, outcomeOf, stampOn } from './sim/scene.ts';
import { dataExtent, LAYER_ID, readStamp, stampedBlocks, writeStamp } from './sim/sim-cluster.ts';

const KEY = { layerId: LAYER_ID, objectIndex: 0 };

test('an object that was never written exists nowhere and needs nobody', async (t) => {
  const { store } = await makeScene();
  t.false(store.exists(5));
});

test('a slow copy is not waited for', async (t) => {
  const { gateway, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  for (const nodeId of ['n1', 'n2', 'n3']) {
    const { link } = { link: gateway.link(nodeId) };
    link.delays = { requestMsMax: 1, answerMsMax: 1 };
    // Whoever is asked first does not answer.
    if (nodeId !== 'n3') link.cut();
  }
  const startedMs = timeline.nowMs;
  t.is(await timeline.until('read', 1000, readStamp(store, 0, 0)), 5);
  t.true(timeline.nowMs - startedMs <= 60);
  t.true(store.stats.hedgedReads > 0);
});

test('reads go to the copy that answers fastest', async (t) => {
  const { gateway, read, write, store } = await makeScene();
  await write(0, 0, 5);
  gateway.link('n1').delays = { requestMsMax: 40, answerMsMax: 40 };
  gateway.link('n3').delays = { requestMsMax: 40, answerMsMax: 40 };
  for (let at = 0; at < 100; at++) await read(0, 0);
  const answered = store.status().replicas.map(({ readLatencyMs }) => readLatencyMs);
  t.true(answered[1]! < 5);
  const hedged = store.stats.hedgedReads;
  for (let at = 0; at < 62; at++) await read(0, 0);
  t.true(store.stats.hedgedReads - hedged <= 2, 'only the reads that explore are slow');
});

test('small reads of one turn go to one copy, large ones to several', async (t) => {
  const { cluster, timeline, store } = await makeScene();
  const payload = [stampedBlocks(Array.from({ length: 32 }, (_, block) => block + 1))];
  await timeline.until('write', 1000, store.write(0, [dataExtent(0, 32)], payload));
  const nodes = [...cluster.nodes.values()];
  /** How many reads the copies answered, in ascending order. */
  const spread = async (reads: readonly Promise<unknown>[]) => {
    const before = nodes.map((node) => node.reads);
    await timeline.until('reads', 1000, Promise.all(reads));
    return nodes.map((node, at) => node.reads - before[at]!).sort((a, b) => a - b);
  };
  const small = (count: number) =>
    Array.from({ length: count }, (_, block) => readStamp(store, 0, block));
  t.deepEqual(await spread(small(8)), [0, 0, 8]);
  t.deepEqual(await spread(small(20)), [0, 4, 16], 'what is much is shared');
  const large = [0, 16].map((block) => store.read(0, block, [Buffer.alloc(16 * 4096)]));
  t.deepEqual(await spread(large), [0, 1, 1]);
});

test('a late answer finds nobody else s memory', async (t) => {
  const { cluster, gateway, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  cluster.freeze('n1');
  cluster.freeze('n2');
  const into = Buffer.alloc(4096);
  await timeline.until('read', 1000, store.read(0, 0, [into]));
  t.is(into.readUInt32LE(0), 5);
  into.fill(0xaa);
  cluster.thaw('n1');
  cluster.thaw('n2');
  await timeline.pass(500);
  t.is(into.readUInt32LE(0), 0xaaaaaaaa);
  t.is(gateway.lostReason, undefined);
});

test('a block that does not match its checksum is read elsewhere and repaired', async (t) => {
  const { cluster, read, write, store, timeline } = await makeScene();
  await write(0, 3, 5);
  cluster.node('n2').flipBit(KEY, 3);
  for (let at = 0; at < 100; at++) t.is(await read(0, 3), 5);
  await timeline.pass(100);
  const found = store.status().replicas.map((one) => [one.nodeId, one.crcFailures, one.repairs]);
  t.deepEqual(found, [
    ['n1', 0, 0],
    ['n2', 1, 1],
    ['n3', 0, 0],
  ]);
  t.false(cluster.node('n2').hasBadBlock(KEY));
  t.is(stampOn(cluster, 'n2', 0, 3), 5);
  t.is(store.status().inSync, 3);
});

test('a range with another bad block on every copy is put together from the good ones', async (t) => {
  const { cluster, timeline, store } = await makeScene();
  const payload = [stampedBlocks([1, 2, 3, 4])];
  await timeline.until('write', 1000, store.write(0, [dataExtent(0, 4)], payload));
  for (const [at, node] of [...cluster.nodes.values()].entries()) node.flipBit(KEY, at);
  const into = Buffer.alloc(4 * 4096);
  await timeline.until('read', 1000, store.read(0, 0, [into]));
  t.deepEqual(into, payload[0]);
  await timeline.pass(100);
  for (const node of cluster.nodes.values()) t.false(node.hasBadBlock(KEY));
});

test('a block that is bad on every copy is an error that says where', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 3, 5);
  for (const node of cluster.nodes.values()) node.flipBit(KEY, 3);
  await t.throwsAsync(timeline.until('read', 1000, readStamp(store, 0, 3)), {
    message: /volume disk0, object 0, block 3 on node n\d does not match its checksum/,
  });
});

test('a read beside a write that some copies have applied is answered', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  cluster.freeze('n3');
  const writing = outcomeOf(writeStamp(store, 0, 1, 6));
  await timeline.pass(100);
  t.is(writing.state, 'pending');
  t.is(await timeline.until('read', 200, readStamp(store, 0, 0)), 5);
});

test('without a copy reads wait, and are answered when one returns', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  for (const nodeId of cluster.nodes.keys()) cluster.kill(nodeId);
  await timeline.pass(2000);
  const reading = outcomeOf(readStamp(store, 0, 0));
  await timeline.pass(5000);
  t.is(reading.state, 'pending');
  cluster.restart('n3');
  await timeline.pass(15_000);
  t.is(reading.value, 5);
});

test('the map of an object comes from a live copy', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 2, 5);
  cluster.kill('n1');
  const kinds = await timeline.until('map', 8000, store.map(0));
  t.deepEqual([...kinds.subarray(0, 4)], [0, 0, 2, 0]);
});
