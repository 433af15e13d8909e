import test from 'ava';
import { killRounds } from '../support/kill-rounds.ts';

const ROUNDS = 200;
/** Nine segments for a disk of 64 MiB: what is overwritten must be cleaned to go on. */
const FILESYSTEM_MIB = 600;

test('killed while segments are cleaned, every block holds its flushed value or a later one', async (t) => {
  t.timeout(1_800_000);
  const counts = await killRounds(t, { rounds: ROUNDS, filesystemMiB: FILESYSTEM_MIB });
  t.true(counts.flush > ROUNDS / 2, 'too few flushes were answered to show anything');
});
