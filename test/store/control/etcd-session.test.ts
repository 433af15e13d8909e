import test from 'ava';
import { ControlStats } from '../../../store/control/control-stats.ts';
import { EtcdSession, type LeaseCalls } from '../../../store/control/etcd-session.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { silentLogger } from '../../../store/runtime/logger.ts';
import { HandClock } from './hand-clock.ts';

const TTL_MS = 9_000;

/** An etcd whose answers take time on the test's clock, or never come. */
function slowEtcd(clock: HandClock, answerMs: number) {
  const calls = { renewals: 0, isDead: false, ttlSeconds: TTL_MS / 1000 };
  const answer = async (): Promise<never> => {
    await new Promise<void>((resolve) => void clock.setTimer(answerMs, resolve));
    if (calls.isDead) throw new DroverError('unavailable', 'dead');
    return { ID: '1', TTL: String(calls.ttlSeconds) } as never;
  };
  const lease: LeaseCalls = {
    call: answer,
    callOnStream: () => {
      calls.renewals += 1;
      return answer();
    },
  };
  return { calls, lease };
}

async function startSession(
  clock: HandClock,
  client: LeaseCalls,
  answerMs: number,
  stats = new ControlStats(),
) {
  const starting = EtcdSession.start({ client, clock, log: silentLogger, stats }, TTL_MS);
  await clock.advance(answerMs);
  return starting;
}

test('a session lives from before its grant was asked for, not from the answer', async (t) => {
  const clock = new HandClock();
  const { lease } = slowEtcd(clock, 1_000);
  const session = await startSession(clock, lease, 1_000);
  t.is(clock.nowMs(), 1_000);
  t.is(session.aliveUntilMs(), TTL_MS);
});

test('a renewal counts from before it was sent', async (t) => {
  const clock = new HandClock();
  const { calls, lease } = slowEtcd(clock, 1_000);
  const session = await startSession(clock, lease, 1_000);
  await clock.advance(TTL_MS / 3);
  t.is(calls.renewals, 1);
  t.is(session.aliveUntilMs(), TTL_MS);
  await clock.advance(1_000);
  t.is(session.aliveUntilMs(), 1_000 + TTL_MS / 3 + TTL_MS);
});

test('a renewal that fails moves nothing, and is tried again', async (t) => {
  const clock = new HandClock();
  const { calls, lease } = slowEtcd(clock, 100);
  const session = await startSession(clock, lease, 100);
  calls.isDead = true;
  for (let step = 0; step < 100; step++) await clock.advance(100);
  t.true(calls.renewals > 3);
  t.is(session.aliveUntilMs(), TTL_MS);
  calls.isDead = false;
  for (let step = 0; step < 10; step++) await clock.advance(100);
  t.true(session.aliveUntilMs() > clock.nowMs());
});

test('a renewal answered with no time left ends the session for good', async (t) => {
  const clock = new HandClock();
  const { calls, lease } = slowEtcd(clock, 100);
  const session = await startSession(clock, lease, 100);
  calls.ttlSeconds = 0;
  await clock.advance(TTL_MS / 3);
  await clock.advance(100);
  t.is(session.aliveUntilMs(), Number.NEGATIVE_INFINITY);
  calls.ttlSeconds = TTL_MS / 1000;
  for (let step = 0; step < 10; step++) await clock.advance(TTL_MS / 3);
  t.is(calls.renewals, 1);
  t.is(session.aliveUntilMs(), Number.NEGATIVE_INFINITY);
});

test('a session that is ended while a renewal is under way stays ended', async (t) => {
  const clock = new HandClock();
  const { lease } = slowEtcd(clock, 100);
  const session = await startSession(clock, lease, 100);
  await clock.advance(TTL_MS / 3);
  const ended = session.end();
  t.is(session.aliveUntilMs(), Number.NEGATIVE_INFINITY);
  await clock.advance(100);
  await ended;
  t.is(session.aliveUntilMs(), Number.NEGATIVE_INFINITY);
});

test('renewals, failed ones and the loss of a session are counted', async (t) => {
  const clock = new HandClock();
  const stats = new ControlStats();
  const { calls, lease } = slowEtcd(clock, 100);
  await startSession(clock, lease, 100, stats);
  await clock.advance(TTL_MS / 3);
  await clock.advance(100);
  t.like(stats, { renewals: 1, failedRenewals: 0, sessionLosses: 0 });
  calls.isDead = true;
  await clock.advance(TTL_MS / 3);
  await clock.advance(100);
  t.like(stats, { renewals: 1, failedRenewals: 1, sessionLosses: 0 });
  calls.isDead = false;
  calls.ttlSeconds = 0;
  for (let step = 0; step < 5; step++) await clock.advance(100);
  t.like(stats, { renewals: 1, failedRenewals: 1, sessionLosses: 1 });
});
