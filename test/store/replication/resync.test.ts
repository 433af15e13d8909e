import test from 'ava';
import { SeededRandom } from '../../support/seeded-random.ts';
import { makeScene, outcomeOf, stampOn } from './sim/scene.ts';
import {
  dataExtent,
  LAYER_ID,
  readStamp,
  SimCluster,
  stampedBlocks,
  writeStamp,
} from './sim/sim-cluster.ts';

async function withNodeOut() {
  const scene = await makeScene();
  const { cluster, write, timeline, store } = scene;
  for (let objectIndex = 0; objectIndex < 6; objectIndex++) {
    await timeline.until(
      'fill',
      1000,
      store.write(objectIndex, [dataExtent(0, 16)], [stampedBlocks(new Array(16).fill(1))]),
    );
  }
  cluster.kill('n3');
  await timeline.pass(1500);
  await write(0, 3, 20);
  await write(0, 4, 21);
  await write(9, 0, 22);
  return scene;
}

/** Twelve objects on their way to a node that returned wiped, one a second. */
async function withSlowResync() {
  const scene = await makeScene({ attach: { resyncBytesPerSecond: 64 * 1024 } });
  const { cluster, store, timeline } = scene;
  for (let objectIndex = 0; objectIndex < 12; objectIndex++) {
    const payload = [stampedBlocks(new Array(16).fill(1))];
    await timeline.until('fill', 1000, store.write(objectIndex, [dataExtent(0, 16)], payload));
  }
  cluster.kill('n3');
  await timeline.pass(1500);
  cluster.node('n3').wipe();
  cluster.restart('n3');
  return scene;
}

test('a returning node gets only the blocks that it missed', async (t) => {
  const { cluster, store, timeline } = await withNodeOut();
  const before = cluster.node('n3').receivedBytes;
  cluster.restart('n3');
  await timeline.pass(1000);
  t.is(store.status().inSync, 3);
  t.is(cluster.node('n3').receivedBytes - before, 3 * 4096);
  t.deepEqual(cluster.differences(), []);
});

test('a write that was on its way when the node died is among what it missed', async (t) => {
  const { cluster, gateway, store, timeline, write } = await makeScene();
  await write(0, 0, 1);
  gateway.link('n3').delays = { requestMsMax: 1, answerMsMax: 500 };
  const written = writeStamp(store, 0, 1, 2);
  await timeline.pass(5);
  t.is(stampOn(cluster, 'n3', 0, 1), 2, 'it has it and did not say so');
  cluster.kill('n3');
  await timeline.until('write', 3000, written);
  await write(0, 2, 3);
  const before = cluster.node('n3').receivedBytes;
  cluster.restart('n3');
  await timeline.pass(2000);
  t.is(store.status().inSync, 3);
  t.is(cluster.node('n3').receivedBytes - before, 2 * 4096);
  t.deepEqual(cluster.differences(), []);
});

test('after a new attach whole objects are copied, and only those that differ', async (t) => {
  const { cluster, store, timeline } = await withNodeOut();
  await timeline.until('close', 1000, store.close());
  const next = await timeline.until('attach', 1000, cluster.gateway('g2').attach());
  const before = cluster.node('n3').receivedBytes;
  cluster.restart('n3');
  await timeline.pass(1000);
  t.is(next.status().inSync, 3);
  t.is(cluster.node('n3').receivedBytes - before, (16 + 1) * 4096);
  t.deepEqual(cluster.differences(), []);
});

test('a node that was away when the lease was taken is told the epoch before it is copied to', async (t) => {
  const { cluster, store, timeline } = await withNodeOut();
  await timeline.until('close', 1000, store.close());
  const next = await timeline.until('attach', 1000, cluster.gateway('g2').attach());
  t.is(cluster.node('n3').epochOf(7), 1);
  cluster.restart('n3');
  await timeline.pass(1000);
  t.is(next.status().inSync, 3);
  t.is(cluster.node('n3').epochOf(7), 2);
});

test('a wiped node gets everything', async (t) => {
  const { cluster, store, timeline } = await withNodeOut();
  cluster.node('n3').wipe();
  cluster.restart('n3');
  await timeline.pass(1000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
  t.is(cluster.replicas.directories['n3'], 'n3-directory-1');
});

test('a node with an old copy of its directory is brought to the newest version', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  await write(0, 0, 1);
  cluster.node('n3').keepOldCopy();
  await write(0, 0, 2);
  await write(1, 0, 3);
  cluster.kill('n3');
  await timeline.pass(1500);
  await write(0, 1, 4);
  cluster.node('n3').putOldCopyBack();
  cluster.restart('n3');
  await timeline.pass(1000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('an object that no in-sync node has is removed', async (t) => {
  const { cluster, store, timeline } = await withNodeOut();
  cluster.node('n3').write({
    volumeId: 7,
    layerId: LAYER_ID,
    objectIndex: 33,
    epoch: 1,
    base: { epoch: 0, seq: 0 },
    target: { epoch: 1, seq: 1 },
    extents: [{ startBlock: 0, blockCount: 1, kind: 1 }],
    blockCrcs: new Uint32Array(0),
    payload: [],
  });
  cluster.restart('n3');
  await timeline.pass(1000);
  t.is(store.status().inSync, 3);
  t.is(cluster.node('n3').object({ layerId: LAYER_ID, objectIndex: 33 }), undefined);
});

test('writes go on during a resync, and the node that returns has them all', async (t) => {
  const { cluster, store, timeline, gateway } = await withNodeOut();
  gateway.link('n3').delays = { requestMsMax: 30, answerMsMax: 30 };
  cluster.node('n3').wipe();
  cluster.restart('n3');
  let stamp = 100;
  for (let round = 0; round < 60; round++) {
    await Promise.all([
      timeline.until('write', 1000, writeStamp(store, round % 6, round % 16, stamp++)),
      timeline.pass(5),
    ]);
  }
  await timeline.pass(1000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('a write of an object that is still to be copied does not break the resync off', async (t) => {
  const { cluster, store, timeline } = await withSlowResync();
  await timeline.untilTrue('copying', 1000, () => store.status().replicas[2]!.state === 'copying');
  for (let objectIndex = 11; objectIndex > 5; objectIndex--) {
    await timeline.until('write', 5000, writeStamp(store, objectIndex, 0, 2));
    t.is(store.status().replicas[2]!.state, 'copying');
  }
  await timeline.pass(20_000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('a write made while the versions are listed is not missed', async (t) => {
  const cluster = new SimCluster(new SeededRandom(1));
  cluster.fill(20_000);
  const { timeline } = cluster;
  const gateway = cluster.gateway('g1');
  const store = await timeline.until('attach', 5000, gateway.attach());
  cluster.kill('n3');
  await timeline.pass(1500);
  gateway.link('n3').delays = { requestMsMax: 100, answerMsMax: 100 };
  cluster.restart('n3');
  await timeline.untilTrue('listing', 1000, () => store.status().replicas[2]!.state === 'listing');
  let stamp = 1;
  while (store.status().replicas[2]!.state === 'listing') {
    await timeline.until('write', 1000, writeStamp(store, 2 * stamp, 0, stamp));
    stamp += 1;
  }
  t.true(stamp > 10);
  await timeline.pass(2000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('the record names a returning node only when it has everything', async (t) => {
  const { cluster, timeline } = await withNodeOut();
  cluster.control.onPut = ({ key }) => {
    if (key !== 'volumes/disk0') return;
    if (cluster.replicas.inSync.includes('n3')) t.deepEqual(cluster.differences(), []);
  };
  t.plan(1);
  cluster.restart('n3');
  await timeline.pass(1000);
});

test('a node that fails during its resync is out again, and tried again', async (t) => {
  const { cluster, store, timeline, gateway } = await withNodeOut();
  gateway.link('n3').delays = { requestMsMax: 50, answerMsMax: 50 };
  cluster.node('n3').wipe();
  cluster.restart('n3');
  await timeline.untilTrue('copying', 1000, () => store.status().replicas[2]!.state === 'copying');
  cluster.kill('n3');
  await timeline.pass(3000);
  t.is(store.status().replicas[2]!.state, 'out');
  cluster.restart('n3');
  await timeline.pass(15_000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('a resync keeps to its rate and tells its progress', async (t) => {
  const { store, timeline } = await withSlowResync();
  await timeline.pass(4000);
  const { objectsBehind, replicas } = store.status();
  t.true(objectsBehind > 3 && objectsBehind < 12, `${objectsBehind} of 12 objects behind`);
  const { bytesLeft, bytesPerSecond, secondsLeft } = replicas[2]!;
  t.is(bytesLeft, objectsBehind * 64 * 1024);
  t.true(bytesPerSecond > 0);
  t.is(Math.round(secondsLeft!), Math.round(bytesLeft / bytesPerSecond));
  await timeline.pass(12_000);
  t.is(store.status().inSync, 3);
});

test('a bad block of the source is repaired from another copy, and the resync goes on', async (t) => {
  const { cluster, store, timeline } = await withNodeOut();
  cluster.node('n1').flipBit({ layerId: LAYER_ID, objectIndex: 2 }, 5);
  cluster.node('n2').flipBit({ layerId: LAYER_ID, objectIndex: 2 }, 6);
  cluster.node('n3').wipe();
  cluster.restart('n3');
  await timeline.pass(2000);
  t.is(store.status().inSync, 3);
  const repaired = store.status().replicas.filter(({ repairs }) => repairs > 0);
  t.deepEqual(
    repaired.map(({ nodeId }) => nodeId),
    ['n1', 'n2'],
  );
  t.deepEqual(cluster.differences(), []);
});

test('bad blocks of both sources are repaired also where only what changed is copied', async (t) => {
  const { cluster, store, timeline } = await withNodeOut();
  cluster.node('n1').flipBit({ layerId: LAYER_ID, objectIndex: 0 }, 3);
  cluster.node('n2').flipBit({ layerId: LAYER_ID, objectIndex: 0 }, 4);
  const before = cluster.node('n3').receivedBytes;
  cluster.restart('n3');
  await timeline.pass(1000);
  t.is(store.status().inSync, 3);
  t.is(cluster.node('n3').receivedBytes - before, 3 * 4096);
  t.deepEqual(cluster.differences(), []);
});

/** Only `n1` is in sync, object 2 has a bad block there, and `n3` is back without anything. */
async function withBadBlockOnTheOnlyCopy(minInSync: number) {
  const scene = await makeScene({ minInSync });
  const { cluster, write, timeline } = scene;
  for (let objectIndex = 0; objectIndex < 6; objectIndex++) await write(objectIndex, 5, 1);
  cluster.kill('n2');
  await timeline.pass(2000);
  cluster.kill('n3');
  await timeline.pass(2000);
  cluster.node('n1').flipBit({ layerId: LAYER_ID, objectIndex: 2 }, 5);
  cluster.node('n3').wipe();
  cluster.restart('n3');
  await timeline.pass(3000);
  return scene;
}

test('an object that no copy can be read of keeps no other from being copied', async (t) => {
  const { cluster, gateway, store, timeline, read } = await withBadBlockOnTheOnlyCopy(1);
  const { state, reason, objectsBehind, objectsUnreadable } = store.status().replicas[2]!;
  t.is(state, 'copying');
  t.is(objectsBehind, 1);
  t.is(objectsUnreadable, 1);
  t.regex(reason, /no copy can be read of: .* object 2, block 5 .* does not match its checksum/);
  for (const objectIndex of [0, 1, 3, 4, 5]) t.is(stampOn(cluster, 'n3', objectIndex, 5), 1);
  t.is(stampOn(cluster, 'n3', 2, 5), 0, 'nothing wrong was copied');
  t.deepEqual(cluster.replicas.inSync, ['n1']);
  await t.throwsAsync(read(2, 5), { message: /does not match its checksum/ });
  t.is(await read(2, 6), 0);
  await timeline.pass(60_000);
  const told = gateway.logLines.filter((line) => line.startsWith('objects that cannot be read'));
  t.true(told.length >= 5 && told.length <= 8, `told ${told.length} times in a minute`);
});

for (const minInSync of [1, 2]) {
  test(`a write over the bad block of the only copy cures it, with ${minInSync} copies needed`, async (t) => {
    const { cluster, store, timeline, write } = await withBadBlockOnTheOnlyCopy(minInSync);
    t.is(store.status().inSync, 1);
    await write(2, 5, 7);
    await timeline.pass(12_000);
    t.is(store.status().inSync, 2);
    t.is(store.status().replicas[2]!.objectsUnreadable, 0);
    t.is(stampOn(cluster, 'n3', 2, 5), 7);
    t.deepEqual([...cluster.replicas.inSync].sort(), ['n1', 'n3']);
  });
}

test('a copy in the record that comes back without what it had leaves the record', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  cluster.node('n3').keepOldCopy();
  await write(0, 0, 6);
  cluster.kill('n2');
  await timeline.pass(2000);
  cluster.kill('n3');
  await timeline.pass(2000);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n3'], 'it has all that was acknowledged');
  // Made of a running node, so young that nobody can tell by its length.
  cluster.node('n3').putOldCopyBack();
  t.false(cluster.hasKnownOldCopy('n3'));
  const seen: string[] = [];
  cluster.control.onPut = ({ key }) => {
    if (key === 'volumes/disk0') seen.push(cluster.replicas.inSync.join(' '));
  };
  cluster.restart('n3');
  await timeline.pass(3000);
  t.deepEqual(seen, ['n1', 'n1 n3']);
  t.is(store.status().inSync, 2);
  t.is(stampOn(cluster, 'n3', 0, 0), 6);
});

test('two nodes return at once', async (t) => {
  const { cluster, store, timeline, write } = await makeScene({ nodeCount: 5, minInSync: 2 });
  for (let objectIndex = 0; objectIndex < 6; objectIndex++) await write(objectIndex, 0, 1);
  cluster.kill('n4');
  cluster.kill('n5');
  await timeline.pass(1500);
  for (let objectIndex = 0; objectIndex < 6; objectIndex++) await write(objectIndex, 1, 2);
  cluster.restart('n4');
  cluster.restart('n5');
  const writing = outcomeOf(writeStamp(store, 2, 2, 3));
  await timeline.pass(1000);
  t.is(writing.state, 'done');
  t.is(store.status().inSync, 5);
  t.deepEqual(cluster.differences(), []);
  t.is(await timeline.until('read', 100, readStamp(store, 2, 2)), 3);
});
