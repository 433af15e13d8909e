import test from 'ava';
import type { DroverError } from '../../../store/runtime/drover-error.ts';
import { makeScene, outcomeOf, stampOn, versionOn } from './sim/scene.ts';
import {
  dataExtent,
  readStamp,
  type SimCluster,
  stampedBlocks,
  writeStamp,
} from './sim/sim-cluster.ts';

test('a write is acknowledged when every in-sync node has it durable', async (t) => {
  const { cluster, store, timeline } = await makeScene();
  cluster.freeze('n3');
  const outcome = outcomeOf(writeStamp(store, 0, 0, 11));
  await timeline.pass(1000);
  t.is(stampOn(cluster, 'n1', 0, 0), 11);
  t.is(outcome.state, 'pending');
  cluster.thaw('n3');
  await timeline.pass(10);
  t.is(outcome.state, 'done');
  t.is(stampOn(cluster, 'n3', 0, 0), 11);
});

test('versions carry the epoch of the lease and grow by one with each write', async (t) => {
  const { cluster, write } = await makeScene();
  await write(3, 0, 1);
  await write(3, 1, 2);
  t.is(versionOn(cluster, 'n1', 3), '1.2');
  t.is(versionOn(cluster, 'n2', 3), '1.2');
});

test('a restart shorter than the limit costs a resend and no copy', async (t) => {
  const { cluster, store, timeline } = await makeScene();
  cluster.kill('n2');
  const outcome = outcomeOf(writeStamp(store, 0, 0, 5));
  await timeline.pass(700);
  t.is(outcome.state, 'pending');
  cluster.restart('n2');
  await timeline.pass(300);
  t.is(outcome.state, 'done');
  t.is(store.status().inSync, 3);
  t.is(store.stats.resyncBytes, 0);
});

for (const [what, strike, limitMs] of [
  ['refuses connections', (cluster: SimCluster) => cluster.kill('n2'), 1000],
  ['is silent', (cluster: SimCluster) => cluster.freeze('n2'), 5000],
] as const) {
  test(`a node that ${what} is out of the record before a write is acknowledged without it`, async (t) => {
    const { cluster, store, timeline } = await makeScene();
    strike(cluster);
    const startedMs = timeline.nowMs;
    let recordThen: readonly string[] = [];
    const written = writeStamp(store, 0, 0, 5).then(() => {
      recordThen = cluster.replicas.inSync;
    });
    await timeline.pass(limitMs - 100);
    t.deepEqual(cluster.replicas.inSync, ['n1', 'n2', 'n3']);
    await timeline.until('write', 2000, written);
    t.deepEqual(recordThen, ['n1', 'n3']);
    t.true(timeline.nowMs - startedMs < limitMs + 2000);
  });
}

test('an idle volume takes a silent node out too', async (t) => {
  const { cluster, gateway, store, timeline } = await makeScene();
  gateway.link('n3').cut();
  // A peer client asks for a sign of life of itself.
  void gateway
    .link('n3')
    .node.space()
    .catch(() => undefined);
  await timeline.pass(5500);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n2']);
  t.is(store.status().inSync, 2);
});

test('while the record cannot be changed no write is acknowledged without the node that failed', async (t) => {
  const { cluster, gateway, store, timeline } = await makeScene();
  gateway.control.isReachable = false;
  cluster.kill('n2');
  const outcome = outcomeOf(writeStamp(store, 0, 0, 5));
  await timeline.pass(3000);
  t.is(store.status().replicas[1]!.state, 'leaving');
  t.is(outcome.state, 'pending');
  gateway.control.isReachable = true;
  await timeline.pass(1000);
  t.is(outcome.state, 'done');
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n3']);
});

test('with the control plane away and all nodes up, writes go on until the lease is over', async (t) => {
  const { gateway, store, timeline, write } = await makeScene();
  gateway.control.isReachable = false;
  await timeline.pass(3000);
  await write(0, 0, 5);
  await timeline.pass(3000);
  t.false(store.leaseHolds());
  await t.throwsAsync(writeStamp(store, 0, 0, 6), { message: /lease/ });
});

test('one change of the record takes out every node that failed', async (t) => {
  const { cluster, gateway, store, timeline } = await makeScene({ nodeCount: 5, minInSync: 2 });
  cluster.kill('n2');
  cluster.kill('n4');
  const { commits } = gateway.control;
  await timeline.until('write', 3000, writeStamp(store, 0, 0, 5));
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n3', 'n5']);
  t.is(gateway.control.commits - commits, 1);
});

test('below the minimum of copies a write waits, and goes on when a node returns', async (t) => {
  const { cluster, store, timeline } = await makeScene();
  cluster.kill('n2');
  cluster.kill('n3');
  const outcome = outcomeOf(writeStamp(store, 0, 0, 5));
  await timeline.pass(60_000);
  t.is(outcome.state, 'pending');
  t.false(store.status().areWritesServed);
  cluster.restart('n3');
  await timeline.pass(15_000);
  t.is(outcome.state, 'done');
  t.is(stampOn(cluster, 'n3', 0, 0), 5);
});

test('below the minimum nobody who has every acknowledged write leaves the record', async (t) => {
  const { cluster, timeline } = await makeScene();
  cluster.kill('n2');
  await timeline.pass(2000);
  cluster.kill('n3');
  await timeline.pass(20_000);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n3']);
});

test('by choice a write that waits for copies fails after a time', async (t) => {
  const attach = { times: { stallTimeoutMs: 3000 } };
  const { cluster, store, timeline } = await makeScene({ attach });
  cluster.kill('n2');
  cluster.kill('n3');
  const outcome = outcomeOf(writeStamp(store, 0, 0, 5));
  await timeline.pass(2500);
  t.is(outcome.state, 'pending');
  await timeline.pass(1000);
  t.is(outcome.state, 'failed');
  t.is((outcome.error as DroverError).kind, 'unavailable');
  cluster.restart('n2');
  await timeline.pass(15_000);
  await timeline.until('write', 1000, writeStamp(store, 0, 0, 6));
  t.is(stampOn(cluster, 'n2', 0, 0), 6);
});

test('a full node is taken out when enough others have room', async (t) => {
  const { cluster, write } = await makeScene();
  cluster.node('n2').isFull = true;
  await write(0, 0, 5);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n3']);
});

test('with too few nodes that have room the client is told, and nothing acknowledged is lost', async (t) => {
  const { cluster, store, timeline, write, read } = await makeScene();
  await write(0, 0, 5);
  await write(0, 1, 6);
  cluster.node('n1').isFull = true;
  cluster.node('n2').isFull = true;
  await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, 0, 0, 7)), {
    message: 'full',
  });
  t.is(store.status().inSync, 3);
  t.is(await read(0, 1), 6);
  cluster.node('n1').isFull = false;
  cluster.node('n2').isFull = false;
  await write(0, 0, 8);
  for (const nodeId of ['n1', 'n2', 'n3']) t.is(stampOn(cluster, nodeId, 0, 0), 8);
  t.deepEqual(cluster.differences(), []);
  t.is(store.stats.resyncBytes, 0);
});

test('after a write that some copies refused, one of other blocks first makes the copies equal', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  cluster.node('n1').isFull = true;
  cluster.node('n2').isFull = true;
  await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, 0, 0, 7)));
  cluster.node('n1').isFull = false;
  cluster.node('n2').isFull = false;
  const before = cluster.node('n1').receivedBytes;
  await write(0, 3, 9);
  t.deepEqual(cluster.differences(), []);
  t.is(stampOn(cluster, 'n1', 0, 0), 7);
  t.is(cluster.node('n1').receivedBytes - before, 2 * 4096, 'the block missed and the new one');
});

test('a question beside the repetition of a refused write does not undo it', async (t) => {
  const { cluster, gateway, store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  cluster.node('n1').isFull = true;
  cluster.node('n2').isFull = true;
  await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, 0, 0, 7)));
  cluster.node('n1').isFull = false;
  cluster.node('n2').isFull = false;
  gateway.link('n3').delays = { requestMsMax: 500, answerMsMax: 1 };
  const again = outcomeOf(writeStamp(store, 0, 0, 8));
  await timeline.pass(5);
  const asked = outcomeOf(store.map(0));
  await timeline.pass(1000);
  t.is(again.state, 'done');
  t.is(asked.state, 'done');
  for (const nodeId of cluster.nodes.keys()) t.is(stampOn(cluster, nodeId, 0, 0), 8);
});

test('a node that returns is sent what it missed of a refused write and of its repetition', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  cluster.node('n1').isFull = true;
  cluster.node('n2').isFull = true;
  await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, 0, 0, 7)));
  cluster.node('n1').isFull = false;
  cluster.node('n2').isFull = false;
  cluster.freeze('n1');
  await write(0, 0, 8);
  await write(0, 3, 9);
  cluster.thaw('n1');
  await timeline.pass(2000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('the number of a failed write is never used again', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  for (const node of cluster.nodes.values()) node.isFull = true;
  await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, 0, 0, 7)));
  for (const node of cluster.nodes.values()) node.isFull = false;
  await write(0, 0, 8);
  t.is(versionOn(cluster, 'n1', 0), '1.2');
});

test('a node whose disk fails is taken out at once', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  cluster.node('n2').isFailing = true;
  const startedMs = timeline.nowMs;
  await write(0, 0, 5);
  t.true(timeline.nowMs - startedMs < 100);
  t.is(store.status().replicas[1]!.takeOuts, 1);
});

test('a disk that fails under the only copy is told to the client, and works when it is mended', async (t) => {
  const { cluster, store, timeline, write, read } = await makeScene({ nodeCount: 1 });
  cluster.node('n1').isFailing = true;
  await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, 0, 0, 5)), {
    message: 'the disk has failed',
  });
  cluster.node('n1').isFailing = false;
  await write(0, 0, 6);
  t.is(await read(0, 0), 6);
});

test('a node that comes back within the limit with an old directory is found out and taken out', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  await write(0, 0, 1);
  cluster.node('n2').keepOldCopy();
  await write(0, 0, 2);
  cluster.kill('n2');
  cluster.node('n2').putOldCopyBack();
  cluster.restart('n2');
  await timeline.pass(150);
  t.is(store.status().replicas[1]!.takeOuts, 1);
  await timeline.pass(2000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
});

test('payload may be used again as soon as the write is acknowledged', async (t) => {
  const { cluster, store, timeline } = await makeScene();
  cluster.freeze('n3');
  const payload = stampedBlocks([5]);
  const written = store.write(0, [dataExtent(0, 1)], [payload]).then(() => payload.fill(0xff));
  await timeline.until('write', 8000, written);
  cluster.thaw('n3');
  await timeline.pass(2000);
  t.is(store.status().inSync, 3);
  t.deepEqual(cluster.differences(), []);
  t.is(stampOn(cluster, 'n3', 0, 0), 5);
});

test('all nodes gone at once and back again: I/O waits and goes on', async (t) => {
  const { cluster, store, timeline, write, read } = await makeScene();
  await write(0, 0, 4);
  const outcome = outcomeOf(writeStamp(store, 0, 0, 5));
  for (const nodeId of cluster.nodes.keys()) cluster.kill(nodeId);
  await timeline.pass(10_000);
  const reading = outcomeOf(readStamp(store, 0, 1));
  for (const nodeId of cluster.nodes.keys()) cluster.restart(nodeId);
  await timeline.pass(15_000);
  t.is(outcome.state, 'done');
  t.is(reading.state, 'done');
  t.is(await read(0, 0), 5);
  t.is(store.status().inSync, 3);
});

test('after the loss of all nodes, those that return go on, whatever failed writes they have', async (t) => {
  const { cluster, store, timeline, write } = await makeScene();
  await write(0, 0, 4);
  await write(1, 0, 5);
  for (const [objectIndex, full] of [
    ['n1', 'n2'],
    ['n2', 'n3'],
  ].entries()) {
    for (const nodeId of full) cluster.node(nodeId).isFull = true;
    await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, objectIndex, 0, 9)));
    for (const nodeId of full) cluster.node(nodeId).isFull = false;
  }
  for (const nodeId of cluster.nodes.keys()) cluster.kill(nodeId);
  await timeline.pass(2000);
  cluster.restart('n1');
  cluster.restart('n3');
  await timeline.pass(15_000);
  await write(0, 1, 6);
  await write(1, 1, 7);
  t.is(store.status().inSync, 2);
});

test('a process that was stopped itself judges nobody before it could read its answers', async (t) => {
  const { cluster, store, timeline, gateway } = await makeScene();
  gateway.session.aliveUntilMs = () => Number.POSITIVE_INFINITY;
  cluster.freeze('n3');
  const outcome = outcomeOf(writeStamp(store, 0, 0, 5));
  gateway.clock.stop();
  await timeline.pass(8000);
  gateway.clock.goOn();
  await timeline.pass(200);
  cluster.thaw('n3');
  await timeline.pass(500);
  t.is(outcome.state, 'done');
  t.is(store.status().replicas[2]!.takeOuts, 0);
});
