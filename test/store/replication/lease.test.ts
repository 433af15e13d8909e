import test from 'ava';
import { makeScene, outcomeOf } from './sim/scene.ts';
import { readStamp, writeStamp } from './sim/sim-cluster.ts';

test('a gateway that was stopped and deposed gets nothing acknowledged and answers no read', async (t) => {
  const { cluster, gateway, store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  const early = outcomeOf(writeStamp(store, 0, 0, 6));
  gateway.clock.stop();
  await timeline.pass(7000);
  const second = cluster.gateway('g2');
  const next = await timeline.until('attach', 8000, second.attach());
  await timeline.until('write', 1000, writeStamp(next, 0, 0, 7));
  gateway.clock.goOn();
  t.false(store.leaseHolds());
  const late = outcomeOf(writeStamp(store, 0, 0, 8));
  const read = outcomeOf(readStamp(store, 0, 0));
  await timeline.pass(1000);
  t.is(early.state, 'failed');
  t.is(late.state, 'failed');
  t.is(read.state, 'failed');
  t.regex(gateway.lostReason!, /lease of volume disk0/);
  t.is(await timeline.until('read', 1000, readStamp(next, 0, 0)), 7);
});

test('what was asked of a node before the lease was over is not answered after it', async (t) => {
  const { gateway, store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  for (const nodeId of ['n1', 'n2', 'n3']) {
    gateway.link(nodeId).delays = { requestMsMax: 1, answerMsMax: 50 };
  }
  const asked = [store.map(0), readStamp(store, 0, 0)].map(outcomeOf);
  await timeline.pass(1);
  gateway.clock.stop();
  await timeline.pass(7000);
  gateway.clock.goOn();
  await timeline.pass(1000);
  t.deepEqual(
    asked.map(({ state }) => state),
    ['failed', 'failed'],
  );
});

test('what fences a deposed gateway is the epoch of the nodes, even if its clock is wrong', async (t) => {
  const { cluster, gateway, store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  // Its control plane forgets it, and its own clock does not tell.
  gateway.session.aliveUntilMs = () => Number.POSITIVE_INFINITY;
  gateway.control.isReachable = false;
  await timeline.pass(7000);
  const next = await timeline.until('attach', 1000, cluster.gateway('g2').attach());
  await t.throwsAsync(timeline.until('write', 1000, writeStamp(store, 0, 0, 6)), {
    message: /told a higher epoch/,
  });
  t.true(store.stats.refusedEpochs >= 1);
  t.is(store.stats.leaseLosses, 1);
  t.is(await timeline.until('read', 1000, readStamp(next, 0, 0)), 5);
});

test('a deposed gateway cannot take a node out of the record of its successor', async (t) => {
  const { cluster, gateway, store, timeline } = await makeScene();
  gateway.session.aliveUntilMs = () => Number.POSITIVE_INFINITY;
  gateway.control.isReachable = false;
  await timeline.pass(7000);
  await timeline.until('attach', 1000, cluster.gateway('g2').attach());
  gateway.control.isReachable = true;
  gateway.link('n2').cut();
  void gateway
    .link('n2')
    .node.space()
    .catch(() => undefined);
  await timeline.pass(6000);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n2', 'n3']);
  t.false(store.leaseHolds());
});

test('the lease is over before the control plane says so', async (t) => {
  const { gateway, store, timeline, cluster } = await makeScene();
  gateway.control.isReachable = false;
  await timeline.untilTrue('the lease is over', 7000, () => !store.leaseHolds());
  t.not(cluster.control.value('leases/7'), undefined);
});

test('a removed volume is noticed at the next change of the record', async (t) => {
  const { cluster, gateway, store, timeline } = await makeScene();
  cluster.control.commit({ expect: [], remove: ['volumes/disk0'] });
  cluster.kill('n2');
  await timeline.pass(2000);
  t.false(store.leaseHolds());
  t.regex(gateway.lostReason!, /was removed/);
});

test('a resize by somebody else does not disturb a change of the in-sync set', async (t) => {
  const { cluster, store, timeline } = await makeScene();
  const record = cluster.control.value('volumes/disk0') as object;
  cluster.control.commit({
    expect: [],
    put: [{ key: 'volumes/disk0', value: { ...record, sizeBytes: 99 } }],
  });
  cluster.kill('n2');
  await timeline.pass(2000);
  t.deepEqual(cluster.replicas.inSync, ['n1', 'n3']);
  t.is((cluster.control.value('volumes/disk0') as { sizeBytes: number }).sizeBytes, 99);
  t.true(store.leaseHolds());
});

test('after a detach everything fails', async (t) => {
  const { store, timeline, write } = await makeScene();
  await write(0, 0, 5);
  await timeline.until('close', 1000, store.close());
  t.false(store.leaseHolds());
  await t.throwsAsync(writeStamp(store, 0, 0, 6), { message: /detached/ });
  await t.throwsAsync(readStamp(store, 0, 0), { message: /detached/ });
});
