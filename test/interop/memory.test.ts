/**
 * Memory under random writes beyond the cache: the short version of test/long/memory.test.ts.
 */
import test from 'ava';
import { randomWritesBeyondCache } from '../support/memory-load.ts';

test('random writes beyond the cache keep resident memory under cache + 256 MiB', async (t) => {
  t.timeout(240_000);
  const { peakBytes, boundBytes } = await randomWritesBeyondCache(t, { writes: 60_000 });
  t.true(peakBytes < boundBytes, `${peakBytes} bytes resident, ${boundBytes} allowed`);
});
