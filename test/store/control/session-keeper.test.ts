import test from 'ava';
import { SessionKeeper } from '../../../store/control/session-keeper.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { MemoryCopy, openOn } from './memory-copy.ts';

test('who asks at the same time and later gets one session', async (t) => {
  const keeper = new SessionKeeper(await openOn([new MemoryCopy('only')]), systemClock, 10_000);
  const [first, second] = await Promise.all([keeper.current(), keeper.current()]);
  t.is(first, second);
  t.is(await keeper.current(), first);
});

test('when the session is over, there is a new one', async (t) => {
  const keeper = new SessionKeeper(await openOn([new MemoryCopy('only')]), systemClock, 10_000);
  const first = await keeper.current();
  await first.end();
  const second = await keeper.current();
  t.not(second, first);
  t.true(second.aliveUntilMs() > performance.now());
});

test('a session that could not be started is tried again', async (t) => {
  const control = await openOn([new MemoryCopy('only')]);
  const keeper = new SessionKeeper(control, systemClock, 10_000);
  await control.close();
  for (const call of [keeper.current(), keeper.current()]) {
    t.true(isDroverError(await t.throwsAsync(call), 'unavailable'));
  }
});

test('the time left is that of the session, and nothing when it is over', async (t) => {
  const keeper = new SessionKeeper(await openOn([new MemoryCopy('only')]), systemClock, 10_000);
  t.is(keeper.leftMs(), 0);
  const session = await keeper.current();
  t.true(keeper.leftMs() > 9_000 && keeper.leftMs() <= 10_000);
  await session.end();
  t.is(keeper.leftMs(), 0);
});
