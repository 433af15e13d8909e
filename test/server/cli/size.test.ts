import test from 'ava';
import fc from 'fast-check';
import { formatSize, parseSize } from '../../../server/cli/size.ts';

test('a size is bytes, or a number with a unit that is a power of 1024', (t) => {
  const cases: [string, number][] = [
    ['0', 0],
    ['4096', 4096],
    ['4096B', 4096],
    ['64K', 64 * 1024],
    ['512M', 512 * 1024 ** 2],
    ['10G', 10 * 1024 ** 3],
    ['10g', 10 * 1024 ** 3],
    ['10GiB', 10 * 1024 ** 3],
    ['10 GiB', 10 * 1024 ** 3],
    ['1.5T', 1.5 * 1024 ** 4],
    ['7P', 7 * 1024 ** 5],
  ];
  for (const [text, bytes] of cases) t.is(parseSize(text), bytes, text);
});

test('a fraction is rounded up to a whole block', (t) => {
  t.is(parseSize('1.1G'), Math.ceil((1.1 * 1024 ** 3) / 4096) * 4096);
});

test('what is no size is refused', (t) => {
  for (const text of [
    '',
    'x',
    '-1',
    '1e3',
    '10GB',
    '10X',
    'G',
    '1.G',
    '.5G',
    '0x10',
    '9P',
    '1,5G',
  ]) {
    t.is(parseSize(text), undefined, text);
  }
});

test('a printed size is short and reads back as nearly the same', (t) => {
  t.is(formatSize(0), '0 B');
  t.is(formatSize(4096), '4 KiB');
  t.is(formatSize(10 * 1024 ** 3), '10 GiB');
  t.is(formatSize(1.5 * 1024 ** 4), '1.5 TiB');
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 48 }), (bytes) => {
      const read = parseSize(formatSize(bytes))!;
      return Math.abs(read - bytes) <= 0.01 * bytes + 4096;
    }),
  );
});
