/**
 * What every control plane must do: the tests that each implementation passes.
 */
import type { ExecutionContext, TestFn } from 'ava';
import {
  type ControlChange,
  type ControlPlane,
  REVISION_NONE,
} from '../../../store/control/control-plane.ts';
import type { ControlStats } from '../../../store/control/control-stats.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { eventually } from '../../support/time-limit.ts';

export interface ControlPlaneHarness {
  /** A user of one and the same empty control plane; closed by the harness when the test is over. */
  connect(): Promise<ControlPlane & { readonly stats: ControlStats }>;
}

export type ControlPlaneFactory = (t: ExecutionContext) => Promise<ControlPlaneHarness>;

/** Long enough for a loaded machine, and the shortest that etcd grants. */
const TTL_MS = 5_000;

export function controlPlaneSuite(test: TestFn, makeHarness: ControlPlaneFactory): void {
  test('a record that was put is read back with its revision', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const value = { text: 'grün', list: [1, 2.5, null, true], nested: { empty: {} } };
    const revision = await control.commit({ expect: [], put: [{ key: 'a/1', value }] });
    t.true(revision > REVISION_NONE);
    t.deepEqual(await control.get('a/1'), { key: 'a/1', value, revision });
    t.is(await control.get('a/2'), undefined);
  });

  test('what is asked is counted by its outcome and its duration', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const { operations } = control.stats;
    const before = operations.commit.outcomes.ok;
    const revision = await control.commit({ expect: [], put: [{ key: 'a', value: 1 }] });
    const wrong = control.commit({ expect: [{ key: 'a', revision: revision + 1 }] });
    await t.throwsAsync(wrong);
    const session = await control.startSession(TTL_MS);
    await session.end();
    await t.throwsAsync(control.commit({ expect: [], put: [{ key: 'b', value: 1, session }] }));
    t.like(operations.commit.outcomes, { ok: before + 1, conflict: 1, fenced: 1, unavailable: 0 });
    const { counts, sum } = operations.commit.latencySeconds;
    t.is(
      counts.reduce((all, count) => all + count, 0),
      before + 3,
    );
    t.true(sum > 0);
    t.is(operations.session.outcomes.ok, 1);
    await control.get('a');
    t.true(operations.get.outcomes.ok >= 1);
  });

  test('a listing holds what starts with the prefix, in the order of the keys', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const keys = ['v/b', 'v/a-1', 'v/a', 'v0', 'u/z', 'v/~'];
    await control.commit({ expect: [], put: keys.map((key) => ({ key, value: key })) });
    const listed = await control.list('v/');
    t.deepEqual(
      listed.map((record) => record.key),
      ['v/a', 'v/a-1', 'v/b', 'v/~'],
    );
    t.deepEqual(await control.list('w/'), []);
  });

  test('what a transaction puts has one revision, which grows with each change', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const put = ['a', 'b'].map((key) => ({ key, value: 1 }));
    const first = await control.commit({ expect: [], put });
    t.is((await control.get('a'))?.revision, first);
    t.is((await control.get('b'))?.revision, first);
    const second = await control.commit({ expect: [], put: [{ key: 'a', value: 1 }] });
    t.true(second > first);
    t.is((await control.get('a'))?.revision, second);
    t.is((await control.get('b'))?.revision, first);
  });

  test('an expectation that does not hold changes nothing', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const revision = await control.commit({ expect: [], put: [{ key: 'a', value: 1 }] });
    const wrong = [
      { key: 'a', revision: REVISION_NONE },
      { key: 'a', revision: revision + 1 },
      { key: 'b', revision },
    ];
    for (const expectation of wrong) {
      const expect = [{ key: 'a', revision }, expectation];
      const put = [{ key: 'c', value: 1 }];
      const error = await t.throwsAsync(control.commit({ expect, put, remove: ['a'] }));
      t.true(isDroverError(error, 'conflict'), String(error));
    }
    t.is((await control.get('a'))?.value, 1);
    t.is(await control.get('c'), undefined);
  });

  test('a record that was removed and made again does not have its old revision', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const old = await control.commit({ expect: [], put: [{ key: 'a', value: 1 }] });
    await control.commit({ expect: [{ key: 'a', revision: old }], remove: ['a', 'unknown'] });
    t.is(await control.get('a'), undefined);
    const fresh = { key: 'a', revision: REVISION_NONE };
    const revision = await control.commit({ expect: [fresh], put: [{ key: 'a', value: 1 }] });
    t.true(revision > old);
  });

  test('of many who swap one record at once, one succeeds each time', async (t) => {
    const harness = await makeHarness(t);
    const users = await Promise.all([1, 2, 3, 4].map(() => harness.connect()));
    const increments = users.map(async (control) => {
      for (let done = 0; done < 5; ) {
        const found = await control.get('counter');
        const expect = [{ key: 'counter', revision: found?.revision ?? REVISION_NONE }];
        const value = ((found?.value as number | undefined) ?? 0) + 1;
        try {
          await control.commit({ expect, put: [{ key: 'counter', value }] });
          done += 1;
        } catch (error) {
          if (!isDroverError(error, 'conflict')) throw error;
        }
      }
    });
    await Promise.all(increments);
    t.is((await users[0]!.get('counter'))?.value, 20);
  });

  test('a watch tells the changes under its prefix after it began, in order', async (t) => {
    const harness = await makeHarness(t);
    const [watcher, writer] = [await harness.connect(), await harness.connect()];
    await writer.commit({ expect: [], put: [{ key: 'w/before', value: 0 }] });
    const seen: ControlChange[] = [];
    await watcher.watch('w/', (change) => seen.push(change));
    const revision = await writer.commit({ expect: [], put: [{ key: 'w/a', value: 1 }] });
    await writer.commit({ expect: [], put: [{ key: 'other', value: 1 }] });
    await writer.commit({ expect: [], remove: ['w/before'] });
    await writer.commit({ expect: [], put: [{ key: 'w/end', value: 1 }] });
    await eventually('the last change', 5_000, () => seen.at(-1)?.key === 'w/end');
    t.deepEqual(
      seen.map((change) => change.key),
      ['w/a', 'w/before', 'w/end'],
    );
    t.deepEqual(seen[0]?.record, { key: 'w/a', value: 1, revision });
    t.is(seen[1]?.record, undefined);
  });

  test('a watch that was ended tells nothing more', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const seen: string[] = [];
    const ended: string[] = [];
    await control.watch('w/', (change) => seen.push(change.key));
    const end = await control.watch('w/', (change) => ended.push(change.key));
    end();
    await control.commit({ expect: [], put: [{ key: 'w/a', value: 1 }] });
    await eventually('the change', 5_000, () => seen.length === 1);
    t.deepEqual(ended, []);
  });

  test('the records of a session end with it, others and overwritten ones stay', async (t) => {
    const harness = await makeHarness(t);
    const [control, other] = [await harness.connect(), await harness.connect()];
    const session = await control.startSession(TTL_MS);
    const kept = await control.startSession(TTL_MS);
    await control.commit({
      expect: [],
      put: [
        { key: 's/a', value: 1, session },
        { key: 's/b', value: 1, session },
        { key: 's/kept', value: 1, session: kept },
        { key: 's/plain', value: 1 },
      ],
    });
    await control.commit({ expect: [], put: [{ key: 's/b', value: 2 }] });
    const gone: string[] = [];
    await other.watch('s/', (change) => {
      if (change.record === undefined) gone.push(change.key);
    });
    await session.end();
    await session.end();
    const left = (await other.list('s/')).map((record) => record.key);
    t.deepEqual(left, ['s/b', 's/kept', 's/plain']);
    await eventually('the removal', 5_000, () => gone.length === 1);
    t.deepEqual(gone, ['s/a']);
    t.true(session.aliveUntilMs() < performance.now());
    t.true(kept.aliveUntilMs() > performance.now());
  });

  test('nothing is put under a session that has ended', async (t) => {
    const control = await (await makeHarness(t)).connect();
    const session = await control.startSession(TTL_MS);
    await session.end();
    const put = [{ key: 's/a', value: 1, session }];
    const error = await t.throwsAsync(control.commit({ expect: [], put }));
    t.true(isDroverError(error, 'fenced'), String(error));
    t.is(await control.get('s/a'), undefined);
  });

  test('a closed control plane answers `unavailable`', async (t) => {
    const control = await (await makeHarness(t)).connect();
    await control.close();
    for (const call of [
      () => control.get('a'),
      () => control.list('a'),
      () => control.commit({ expect: [], put: [{ key: 'a', value: 1 }] }),
      () => control.startSession(TTL_MS),
      () => control.watch('a', () => {}),
    ]) {
      const error = await t.throwsAsync(call());
      t.true(isDroverError(error, 'unavailable'), String(error));
    }
  });
}
