import test from 'ava';
import { randomWritesBeyondCache } from '../support/memory-load.ts';

test('ten minutes of random writes at 2,000 a second keep resident memory under cache + 256 MiB', async (t) => {
  t.timeout(900_000);
  const { peakBytes, boundBytes } = await randomWritesBeyondCache(t, { writes: 1_200_000 });
  t.true(peakBytes < boundBytes, `${peakBytes} bytes resident, ${boundBytes} allowed`);
});
