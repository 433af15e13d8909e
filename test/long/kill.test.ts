import test from 'ava';
import { killRounds } from '../support/kill-rounds.ts';

const ROUNDS = 500;

test('after each of 500 kills every block holds its flushed value or a later one', async (t) => {
  t.timeout(1_800_000);
  const counts = await killRounds(t, { rounds: ROUNDS });
  t.true(counts.flush > ROUNDS / 2, 'too few flushes were answered to show anything');
});
