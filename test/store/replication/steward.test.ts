import test from 'ava';
import { VolumeDirectory } from '../../../store/control/volume-directory.ts';
import { Steward } from '../../../store/replication/steward.ts';
import { makeScene } from './sim/scene.ts';
import { readStamp, type SimCluster, type SimGateway, writeStamp } from './sim/sim-cluster.ts';

/** A process that would tend volumes; it is a gateway that attaches nothing by itself. */
async function stewardOf(cluster: SimCluster, process: SimGateway): Promise<Steward> {
  const { timeline } = cluster;
  const session = await timeline.until('session', 100, process.control.startSession(6000));
  const { clock, log, control, holderId } = process;
  return new Steward({
    control,
    directory: new VolumeDirectory(control),
    session,
    clock,
    random: cluster.random,
    log,
    holderId,
    links: (nodeId) => process.link(nodeId),
  });
}

async function withCopyMissing() {
  const scene = await makeScene();
  const { cluster, timeline, write, store } = scene;
  await write(0, 0, 1);
  cluster.kill('n3');
  await timeline.pass(1500);
  await write(0, 0, 2);
  await timeline.until('close', 1000, store.close());
  return scene;
}

test('a volume that nobody has attached gets its missing copy back, and is given back', async (t) => {
  const { cluster, timeline } = await withCopyMissing();
  const steward = await stewardOf(cluster, cluster.gateway('s1'));
  steward.start();
  await timeline.pass(5000);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n2']);
  cluster.restart('n3');
  await timeline.untilTrue('tended', 8000, () => steward.tended().length === 1);
  t.like(steward.tended()[0]!.replication.status(), { volumeName: 'disk0', copies: 3 });
  await timeline.pass(5000);
  t.deepEqual(steward.tended(), []);
  t.deepEqual([...cluster.replicas.inSync].sort(), ['n1', 'n2', 'n3']);
  t.deepEqual(cluster.differences(), []);
  t.is(cluster.control.value('leases/7'), undefined);
});

test('a node that lost its data while nobody had the volume gets it again', async (t) => {
  const { cluster, timeline, write, store } = await makeScene();
  await write(0, 0, 1);
  await timeline.until('close', 1000, store.close());
  cluster.kill('n3');
  cluster.node('n3').wipe();
  cluster.restart('n3');
  const steward = await stewardOf(cluster, cluster.gateway('s1'));
  steward.start();
  await timeline.pass(8000);
  t.deepEqual(cluster.differences(), []);
  t.is(cluster.replicas.directories['n3'], cluster.node('n3').directoryId);
  t.is(cluster.control.value('leases/7'), undefined);
});

test('a gateway that wants the volume has it at once', async (t) => {
  const { cluster, timeline } = await withCopyMissing();
  const process = cluster.gateway('s1');
  process.link('n3').delays = { requestMsMax: 3000, answerMsMax: 3000 };
  const steward = await stewardOf(cluster, process);
  steward.start();
  cluster.restart('n3');
  await timeline.untilTrue('tended', 8000, () => cluster.control.value('leases/7') !== undefined);
  const store = await timeline.until('attach', 1000, cluster.gateway('g2').attach());
  t.is(await timeline.until('read', 1000, readStamp(store, 0, 0)), 2);
  await timeline.until('write', 1000, writeStamp(store, 0, 0, 3));
  await timeline.pass(10_000);
  t.true(store.leaseHolds());
  t.is(store.status().inSync, 3);
});

test('only one of several stewards is elected', async (t) => {
  const { cluster, timeline } = await withCopyMissing();
  const processes = ['s1', 's2'].map((holderId) => cluster.gateway(holderId));
  const stewards = [];
  for (const process of processes) stewards.push(await stewardOf(cluster, process));
  for (const steward of stewards) steward.start();
  cluster.restart('n3');
  await timeline.pass(8000);
  const tended = processes.filter(({ logLines }) => logLines.some((line) => /attached/.test(line)));
  t.is(tended.length, 1);
  await timeline.until('stop', 5000, Promise.all(stewards.map((steward) => steward.stop())));
});

test('when the steward dies another one takes its place', async (t) => {
  const { cluster, timeline } = await withCopyMissing();
  const first = cluster.gateway('s1');
  (await stewardOf(cluster, first)).start();
  await timeline.pass(3000);
  t.is(cluster.control.value('steward'), 's1');
  first.kill();
  (await stewardOf(cluster, cluster.gateway('s2'))).start();
  cluster.restart('n3');
  await timeline.pass(12_000);
  t.is(cluster.control.value('steward'), 's2');
  t.deepEqual(cluster.differences(), []);
});
