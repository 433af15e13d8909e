import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import type { ControlChange } from '../../../store/control/control-plane.ts';
import { EtcdControl } from '../../../store/control/etcd-control.ts';
import {
  ETCD_CALL_TIMEOUT_MS,
  ETCD_KEEPALIVE_MS,
  ETCD_KEEPALIVE_TIMEOUT_MS,
} from '../../../store/control/limits.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { silentLogger } from '../../../store/runtime/logger.ts';
import { run } from '../../support/child-process.ts';
import { CuttableRoad } from '../../support/cuttable-road.ts';
import { Etcd } from '../../support/etcd.ts';
import { eventually } from '../../support/time-limit.ts';
import { controlPlaneSuite } from './control-plane-suite.ts';

const test = anyTest as TestFn;

const SYSTEM = { clock: systemClock, log: silentLogger };

/** One etcd for the tests that leave it alone; each has a prefix of its own. */
let shared: Etcd;
let prefixes = 0;
const cleanUps: (() => unknown)[] = [];

test.before('etcd starts', async (t) => {
  shared = await Etcd.start({ teardown: (clean) => cleanUps.unshift(clean), log: t.log });
});

test.after.always('etcd ends', async () => {
  for (const clean of cleanUps) await clean();
});

function connect(t: ExecutionContext, etcd: Etcd, keyPrefix = 'test/'): EtcdControl {
  const control = new EtcdControl({ endpoints: [etcd.endpoint], ...SYSTEM, keyPrefix });
  t.teardown(() => control.close().catch(() => undefined));
  return control;
}

const put = (control: EtcdControl, key: string, value: unknown): Promise<number> =>
  control.commit({ expect: [], put: [{ key, value }] });

const etcdctl = (etcd: Etcd, ...args: string[]): Promise<string> =>
  run(10_000, 'etcdctl', ['--endpoints', etcd.endpoint, ...args], { env: { ETCDCTL_API: '3' } });

controlPlaneSuite(test, async (t) => {
  const keyPrefix = `suite-${++prefixes}/`;
  return { connect: async () => connect(t, shared, keyPrefix) };
});

test('control planes of different prefixes do not see each other', async (t) => {
  const [one, two] = [connect(t, shared, 'one/'), connect(t, shared, 'one-more/')];
  await put(one, 'a', 1);
  t.is(await two.get('a'), undefined);
  t.deepEqual(await two.list(''), []);
});

test('an etcd that nobody runs is `unavailable` within the limit', async (t) => {
  const control = new EtcdControl({ endpoints: ['127.0.0.1:1'], ...SYSTEM });
  const startMs = performance.now();
  const error = await t.throwsAsync(control.get('a'));
  t.true(isDroverError(error, 'unavailable'), String(error));
  t.regex(error.message, /127\.0\.0\.1:1/);
  t.true(performance.now() - startMs < ETCD_CALL_TIMEOUT_MS + 1_000);
  await control.close();
});

test('of several endpoints, one that answers is enough', async (t) => {
  const dead = ['127.0.0.1:1', 'nowhere.invalid:2379'];
  const endpoints = [...dead, shared.endpoint];
  const control = new EtcdControl({ endpoints, ...SYSTEM, keyPrefix: 'several/' });
  t.teardown(() => control.close());
  const startMs = performance.now();
  await put(control, 'a', 1);
  t.is((await control.get('a'))?.value, 1);
  t.true(performance.now() - startMs < 2_000);
});

test('a session lives on by its renewals', async (t) => {
  const control = connect(t, shared, 'renewals/');
  const session = await control.startSession(2_000);
  await control.commit({ expect: [], put: [{ key: 's', value: 1, session }] });
  const firstMs = session.aliveUntilMs();
  await sleep(session.ttlMs * 2);
  t.true(session.aliveUntilMs() > Math.max(firstMs, performance.now()));
  t.is((await control.get('s'))?.value, 1);
});

test('a session that is not renewed is over here before its records are gone there', async (t) => {
  const [owner, other] = [connect(t, shared, 'expiry/'), connect(t, shared, 'expiry/')];
  const stopped = { ...systemClock, setTimer: () => ({ cancel: () => {} }) };
  const silent = new EtcdControl({
    endpoints: [shared.endpoint],
    ...SYSTEM,
    clock: stopped,
    keyPrefix: 'expiry/',
  });
  t.teardown(() => silent.close());
  const session = await silent.startSession(2_000);
  await silent.commit({ expect: [], put: [{ key: 's', value: 1, session }] });
  const aliveUntilMs = session.aliveUntilMs();
  t.true(aliveUntilMs > performance.now());
  await eventually('the end of the record', 20_000, async () => {
    return (await other.get('s')) === undefined;
  });
  t.true(performance.now() > aliveUntilMs);
  const again = [{ key: 's', value: 2, session }];
  const error = await t.throwsAsync(silent.commit({ expect: [], put: again }));
  t.true(isDroverError(error, 'fenced'), String(error));
  await owner.close();
});

test('a session that etcd ended is over for good', async (t) => {
  const etcd = await Etcd.start(t);
  const control = connect(t, etcd);
  const session = await control.startSession(3_000);
  const leaseId = (await etcdctl(etcd, 'lease', 'list')).trim().split('\n').at(-1)!;
  await etcdctl(etcd, 'lease', 'revoke', leaseId);
  await eventually('the end of the session', 10_000, () => session.aliveUntilMs() < 0);
  t.is(session.aliveUntilMs(), Number.NEGATIVE_INFINITY);
});

test('while etcd is down calls are `unavailable`; after its restart all goes on', async (t) => {
  const etcd = await Etcd.start(t);
  const control = connect(t, etcd);
  const session = await control.startSession(10_000);
  const revision = await put(control, 'a', 1);
  await control.commit({ expect: [], put: [{ key: 's', value: 1, session }] });
  await etcd.kill();
  const aliveUntilMs = session.aliveUntilMs();
  for (const call of [control.get('a'), put(control, 'a', 2), control.startSession(10_000)]) {
    const error = await t.throwsAsync(call);
    t.true(isDroverError(error, 'unavailable'), String(error));
  }
  t.is(session.aliveUntilMs(), aliveUntilMs);
  await etcd.restart();
  await eventually('an answer', 10_000, () =>
    control.get('a').then(
      (found) => found?.value === 1,
      () => false,
    ),
  );
  t.true((await put(control, 'a', 3)) > revision);
  await eventually('a renewal', 10_000, () => session.aliveUntilMs() > aliveUntilMs);
  t.is((await control.get('s'))?.value, 1);
});

test('a watch tells the newest state after a restart of etcd, what was removed included', async (t) => {
  const etcd = await Etcd.start(t);
  const [watcher, writer] = [connect(t, etcd), connect(t, etcd)];
  for (const key of ['w/changed', 'w/removed', 'w/same']) await put(writer, key, 1);
  const seen: ControlChange[] = [];
  await watcher.watch('w/', (change) => seen.push(change));
  await put(writer, 'w/before', 1);
  await eventually('the first change', 5_000, () => seen.length === 1);
  await etcd.kill();
  await etcd.restart();
  // Changes come while the watch is still waiting to begin again, or just after.
  await eventually('an answer', 10_000, () =>
    writer.get('w/same').then(
      () => true,
      () => false,
    ),
  );
  await put(writer, 'w/changed', 2);
  await writer.commit({ expect: [], remove: ['w/removed'] });
  await put(writer, 'w/new', 1);
  await eventually('the changes', 10_000, () => seen.length >= 4);
  await sleep(1_000);
  const told = seen.map(({ key, record }) => [key, record?.value]);
  t.deepEqual(told.slice(0, 1), [['w/before', 1]]);
  t.deepEqual(
    told.slice(1).sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
    [
      ['w/changed', 2],
      ['w/new', 1],
      ['w/removed', undefined],
    ],
  );
});

test('a watch cut off while its changes were compacted tells the newest state', async (t) => {
  const etcd = await Etcd.start(t);
  const road = await CuttableRoad.to(t, etcd.port);
  const writer = connect(t, etcd);
  const endpoints = [road.endpoint];
  const watcher = new EtcdControl({ endpoints, ...SYSTEM, keyPrefix: 'test/' });
  t.teardown(() => watcher.close().catch(() => undefined));
  await put(writer, 'w/removed', 1);
  const seen = new Map<string, unknown>();
  await watcher.watch('w/', ({ key, record }) => seen.set(key, record?.value));
  road.cut();
  await writer.commit({ expect: [], remove: ['w/removed'] });
  let revision = 0;
  for (let value = 0; value < 20; value++) revision = await put(writer, 'w/a', value);
  await etcdctl(etcd, 'compact', String(revision));
  t.is(seen.size, 0);
  road.restore();
  await eventually('the newest state', 10_000, () => seen.size === 2);
  t.deepEqual([...seen].sort(), [
    ['w/a', 19],
    ['w/removed', undefined],
  ]);
});

test('a watch whose connection goes silent begins again on a new one', async (t) => {
  const etcd = await Etcd.start(t);
  const road = await CuttableRoad.to(t, etcd.port);
  const writer = connect(t, etcd);
  const endpoints = [road.endpoint];
  const watcher = new EtcdControl({ endpoints, ...SYSTEM, keyPrefix: 'test/' });
  t.teardown(() => watcher.close().catch(() => undefined));
  const seen: unknown[] = [];
  await watcher.watch('w/', ({ record }) => seen.push(record?.value));
  road.silence();
  await put(writer, 'w/a', 1);
  const limitMs = ETCD_KEEPALIVE_MS + ETCD_KEEPALIVE_TIMEOUT_MS + 5_000;
  await eventually('the change', limitMs, () => seen.length > 0);
  t.true(watcher.stats.watchInterruptions > 0);
  await put(writer, 'w/a', 2);
  await eventually('the next change', 5_000, () => seen.length > 1);
  t.deepEqual(seen, [1, 2]);
});

test('a record that is not JSON has no value, and ends no watch', async (t) => {
  const etcd = await Etcd.start(t);
  const control = connect(t, etcd);
  const seen: unknown[] = [];
  await control.watch('w/', ({ record }) => seen.push(record?.value));
  await etcdctl(etcd, 'put', 'test/w/a', '{');
  await put(control, 'w/b', 1);
  await eventually('the changes', 5_000, () => seen.length === 2);
  t.deepEqual(seen, [undefined, 1]);
  t.is((await control.get('w/a'))?.value, undefined);
});

test('a frozen etcd answers `unavailable` in time and serves again when it wakes', async (t) => {
  const etcd = await Etcd.start(t);
  const control = connect(t, etcd);
  await put(control, 'a', 1);
  await etcd.freeze();
  const startMs = performance.now();
  const error = await t.throwsAsync(control.get('a'));
  t.true(isDroverError(error, 'unavailable'), String(error));
  t.true(performance.now() - startMs < ETCD_CALL_TIMEOUT_MS + 1_000);
  etcd.thaw();
  await eventually('an answer', 10_000, () =>
    control.get('a').then(
      () => true,
      () => false,
    ),
  );
  t.is((await control.get('a'))?.value, 1);
});
