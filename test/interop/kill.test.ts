/**
 * SIGKILL at random moments, on the same data again and again: what was flushed is there.
 */
import test from 'ava';
import { killRounds } from '../support/kill-rounds.ts';

const ROUNDS = 50;

test('after each of 50 kills every block holds its flushed value or a later one', async (t) => {
  t.timeout(600_000);
  const counts = await killRounds(t, { rounds: ROUNDS });
  t.true(counts.write > ROUNDS * 20, 'the load was too small to show anything');
  t.true(counts.flush > ROUNDS / 2, 'too few flushes were answered to show anything');
});
