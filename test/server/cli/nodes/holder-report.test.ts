import test from 'ava';
import {
  HOLDER_REPORTS_PREFIX,
  HolderReport,
  reportedCopies,
} from '../../../../server/cli/nodes/holder-report.ts';
import { SessionKeeper } from '../../../../store/control/session-keeper.ts';
import { silentLogger } from '../../../../store/runtime/logger.ts';
import { HandClock, settled } from '../../../store/control/hand-clock.ts';
import { MemoryCopy, openOn } from '../../../store/control/memory-copy.ts';
import { statusOf } from './held-status.ts';

const REPORT_MS = 3_000;

async function makeScene() {
  const clock = new HandClock();
  const control = await openOn([new MemoryCopy('only')], { clock });
  const sessions = new SessionKeeper(control, clock, 10_000);
  const behind = new Map<string, number>();
  const report = new HolderReport({
    ...{ holderId: 'steward on store1', control, sessions, clock, log: silentLogger },
    held: () =>
      [...behind].map(([name, count]) => ({
        replication: { status: () => statusOf(name, count) },
      })),
  });
  report.start();
  const records = () => control.list(HOLDER_REPORTS_PREFIX);
  const pass = async () => {
    await clock.advance(REPORT_MS);
    await settled();
  };
  return { control, sessions, behind, report, records, pass };
}

test('volumes that lack copies are told of until they lack none', async (t) => {
  const { behind, records, pass } = await makeScene();
  behind.set('whole', 0).set('disk0', 120);
  await pass();
  const told = reportedCopies(await records());
  t.deepEqual(
    told.map(({ name }) => name),
    ['disk0'],
  );
  t.like(told[0], { holder: 'steward on store1', epoch: 1, inSyncCopies: 2, objectsBehind: 120 });
  t.deepEqual(told[0]!.replicas[2]!.resync, { bytesPerSecond: 100, secondsLeft: 6 });
  behind.set('disk0', 0);
  await pass();
  t.deepEqual(await records(), []);
});

test('nothing is written while nothing changes', async (t) => {
  const { behind, control, records, pass } = await makeScene();
  const commits = () => control.stats.operations.commit.outcomes.ok;
  await pass();
  t.is(commits(), 0);
  t.is(control.stats.operations.session.outcomes.ok, 0);
  behind.set('disk0', 120);
  await pass();
  const [first] = await records();
  t.is(commits(), 1);
  await pass();
  t.is(commits(), 1);
  behind.set('disk0', 119);
  await pass();
  t.is(commits(), 2);
  t.not((await records())[0]!.revision, first!.revision);
});

test('a report that ended with its session is made again', async (t) => {
  const { behind, sessions, records, pass } = await makeScene();
  behind.set('disk0', 120);
  await pass();
  await (await sessions.current()).end();
  t.deepEqual(await records(), []);
  await pass();
  t.is(reportedCopies(await records()).length, 1);
});

test('a stopped report writes nothing any more', async (t) => {
  const { behind, report, records, pass } = await makeScene();
  await report.stop();
  behind.set('disk0', 120);
  await pass();
  t.deepEqual(await records(), []);
});
