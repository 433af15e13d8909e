import test from 'ava';
import { SeededRandom } from '../../support/seeded-random.ts';
import { makeScene, outcomeOf, stampOn, versionOn } from './sim/scene.ts';
import { LAYER_ID, readStamp, SimCluster, writeStamp } from './sim/sim-cluster.ts';

/** A gateway that dies with a write that only `nodeId` has. */
async function withWriteOnOneNode(nodeId: string) {
  const scene = await makeScene();
  const { cluster, gateway, store, timeline, write } = scene;
  await write(0, 0, 5);
  await write(1, 0, 6);
  for (const other of cluster.nodes.keys()) if (other !== nodeId) gateway.link(other).cut();
  const late = outcomeOf(writeStamp(store, 0, 0, 7));
  await timeline.pass(50);
  gateway.kill();
  await timeline.pass(7000);
  return { ...scene, late, successor: cluster.gateway('g2') };
}

test('a second gateway is refused while the first holds the lease', async (t) => {
  const { cluster, timeline } = await makeScene();
  const second = cluster.gateway('g2');
  await t.throwsAsync(timeline.until('attach', 1000, second.attach()), { message: /in use by g1/ });
});

test('after a detach the next gateway has the volume at once, under a higher epoch', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  await timeline.until('close', 1000, store.close());
  const second = cluster.gateway('g2');
  const next = await timeline.until('attach', 1000, second.attach());
  t.is(next.status().epoch, 2);
  t.is(cluster.node('n1').epochOf(7), 2);
  t.is(await timeline.until('read', 1000, readStamp(next, 0, 0)), 5);
});

test('where versions differ the highest goes on, on every copy, before it is read', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  const store = await timeline.until('attach', 1000, successor.attach());
  t.is(await timeline.until('read', 1000, readStamp(store, 0, 0)), 7);
  for (const nodeId of cluster.nodes.keys()) t.is(stampOn(cluster, nodeId, 0, 0), 7);
});

test('where the highest version cannot be read, the one below goes on, and no mixture of both', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  t.true(cluster.node('n2').flipBit({ layerId: LAYER_ID, objectIndex: 0 }, 0));
  const store = await timeline.until('attach', 1000, successor.attach());
  t.is(await timeline.until('read', 1000, readStamp(store, 0, 0)), 5);
  await timeline.pass(3000);
  t.is(store.status().inSync, 3);
  t.is(versionOn(cluster, 'n2', 0), versionOn(cluster, 'n1', 0));
  t.is(versionOn(cluster, 'n2', 0), '1.1');
  t.deepEqual(cluster.differences(), []);
});

test('a node that loses its data while a bad block is repaired on its account stops nothing', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  t.true(cluster.node('n2').flipBit({ layerId: LAYER_ID, objectIndex: 0 }, 0));
  const store = await timeline.until('attach', 1000, successor.attach());
  cluster.kill('n1');
  cluster.node('n1').wipe();
  cluster.restart('n1');
  await timeline.until('write', 15_000, writeStamp(store, 0, 1, 9));
  await timeline.pass(15_000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('copies that differ are made equal in the background too', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  const store = await timeline.until('attach', 1000, successor.attach());
  await timeline.pass(200);
  t.deepEqual(cluster.differences(), []);
  t.is(store.stats.reconciledObjects, 1);
});

test('a value that was read does not change back when the node that had it alone dies', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  const store = await timeline.until('attach', 1000, successor.attach());
  const seen = await timeline.until('read', 1000, readStamp(store, 0, 0));
  cluster.kill('n2');
  t.is(await timeline.until('read', 4000, readStamp(store, 0, 0)), seen);
});

test('when the only node with a higher version dies before it is copied, the lower one goes on', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  const store = await timeline.until('attach', 1000, successor.attach());
  cluster.kill('n2');
  t.true([5, 7].includes(await timeline.until('read', 8000, readStamp(store, 0, 0))));
  cluster.restart('n2');
  await timeline.until('write', 8000, writeStamp(store, 0, 1, 9));
  await timeline.pass(4000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('copies that differ are not read while a copy in the record may have the older value', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  const store = await timeline.until('attach', 1000, successor.attach());
  successor.control.isReachable = false;
  cluster.kill('n3');
  const reading = outcomeOf(readStamp(store, 0, 0));
  await timeline.pass(3000);
  t.is(stampOn(cluster, 'n1', 0, 0), 7);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n2', 'n3']);
  t.is(reading.state, 'pending');
  successor.control.isReachable = true;
  await timeline.pass(1000);
  t.is(reading.value, 7);
});

test('an in-sync node that does not answer is out of the record before anything is served', async (t) => {
  const { cluster, timeline, successor } = await withWriteOnOneNode('n2');
  cluster.freeze('n2');
  const store = await timeline.until('attach', 8000, successor.attach());
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n3']);
  t.is(await timeline.until('read', 1000, readStamp(store, 0, 0)), 5);
  cluster.thaw('n2');
  await timeline.pass(3000);
  t.is(store.status().inSync, 3);
  t.is(stampOn(cluster, 'n2', 0, 0), 5, 'what it alone had seen is gone');
});

test('with one reachable in-sync node reads are served and writes wait', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  await timeline.until('close', 1000, store.close());
  cluster.kill('n1');
  cluster.kill('n3');
  const next = await timeline.until('attach', 8000, cluster.gateway('g2').attach());
  t.deepEqual(cluster.replicas.inSync, ['n2']);
  t.is(await timeline.until('read', 1000, readStamp(next, 0, 0)), 5);
  const writing = outcomeOf(writeStamp(next, 0, 0, 6));
  await timeline.pass(20_000);
  t.is(writing.state, 'pending');
  cluster.restart('n3');
  await timeline.pass(15_000);
  t.is(writing.state, 'done');
});

test('without a reachable in-sync node there is no attach, and the lease is given back', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  await timeline.until('close', 1000, store.close());
  for (const nodeId of cluster.nodes.keys()) cluster.kill(nodeId);
  await t.throwsAsync(timeline.until('attach', 10_000, cluster.gateway('g2').attach()), {
    message: /no copy that can be relied on/,
  });
  t.is(cluster.control.value('leases/7'), undefined);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n2', 'n3']);
});

test('a node that was out is no reason to attach, whatever it has', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  cluster.kill('n3');
  await write(0, 0, 5);
  await timeline.until('close', 1000, store.close());
  cluster.restart('n3');
  cluster.kill('n1');
  cluster.kill('n2');
  await t.throwsAsync(timeline.until('attach', 10_000, cluster.gateway('g2').attach()), {
    message: /no copy that can be relied on/,
  });
});

test('a node that comes with another data directory is not taken for the one it was', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  await timeline.until('close', 1000, store.close());
  cluster.node('n2').wipe();
  const next = await timeline.until('attach', 1000, cluster.gateway('g2').attach());
  t.is(await timeline.until('read', 1000, readStamp(next, 0, 0)), 5);
  await timeline.pass(1000);
  t.is(next.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
  t.is(cluster.replicas.directories['n2'], cluster.node('n2').directoryId);
});

test('an old copy, put back while nobody has the volume, is no reason to attach', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  cluster.node('n2').keepOldCopy();
  cluster.kill('n2');
  cluster.restart('n2');
  await write(0, 0, 6);
  await timeline.until('close', 1000, store.close());
  for (const nodeId of cluster.nodes.keys()) cluster.kill(nodeId);
  cluster.node('n2').putOldCopyBack();
  cluster.restart('n2');
  const attempt = timeline.until('attach', 10_000, cluster.gateway('g2').attach());
  await t.throwsAsync(attempt, { message: /n2: node n2 has another data directory/ });
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n2', 'n3']);
  cluster.restart('n1');
  const next = await timeline.until('attach', 10_000, cluster.gateway('g3').attach());
  t.is(await timeline.until('read', 1000, readStamp(next, 0, 0)), 6);
  await timeline.pass(3000);
  t.is(stampOn(cluster, 'n2', 0, 0), 6);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n2']);
});

test('a node that comes back old while its objects are listed is not relied on', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  const node = cluster.node('n2');
  await write(0, 0, 5);
  node.keepOldCopy();
  cluster.kill('n2');
  cluster.restart('n2');
  await write(0, 0, 6);
  await timeline.until('close', 1000, store.close());
  cluster.kill('n1');
  cluster.kill('n3');
  const successor = cluster.gateway('g2');
  const { node: linked } = successor.link('n2');
  const list = linked.listVersions.bind(linked);
  linked.listVersions = (layerId, fromObjectIndex, limit) => {
    linked.listVersions = list;
    cluster.kill('n2');
    node.putOldCopyBack();
    cluster.restart('n2');
    return list(layerId, fromObjectIndex, limit);
  };
  const attempt = timeline.until('attach', 10_000, successor.attach());
  await t.throwsAsync(attempt, { message: /n2: it was opened anew meanwhile/ });
});

test('only wiped nodes: the volume is unavailable, not empty', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 5);
  await timeline.until('close', 1000, store.close());
  for (const node of cluster.nodes.values()) node.wipe();
  await t.throwsAsync(timeline.until('attach', 1000, cluster.gateway('g2').attach()), {
    message: /another data directory/,
  });
});

test('a volume with many objects is listed in pages', async (t) => {
  const cluster = new SimCluster(new SeededRandom(1));
  cluster.fill(20_000);
  const store = await cluster.timeline.until('attach', 5000, cluster.gateway('g1').attach());
  t.true(store.exists(39_998));
  t.false(store.exists(39_999));
  await cluster.timeline.until('write', 1000, writeStamp(store, 39_998, 0, 1));
  t.is(versionOn(cluster, 'n1', 39_998), '2.40000');
});
