import test from 'ava';
import { defaultCacheBytes } from '../../../server/cli/default-cache.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

test('the cache takes an eighth of the memory, from 256 MiB to 4 GiB', (t) => {
  t.is(defaultCacheBytes(GIB), 256 * MIB);
  t.is(defaultCacheBytes(16 * GIB), 2 * GIB);
  t.is(defaultCacheBytes(256 * GIB), 4 * GIB);
  t.is(defaultCacheBytes(8 * GIB + 12345) % MIB, 0);
});
