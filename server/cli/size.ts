/**
 * Sizes as people write them (`10G`, `1.5T`, `4096`) and as we print them (`10 GiB`).
 *
 * Units are powers of 1024 everywhere. A fraction that is no whole number of blocks is rounded up
 * to one: `1.1G` must not make a disk that ends in the middle of a sector.
 */
import { z } from 'zod';
import { BLOCK_BYTES, blocksOf } from '../../store/geometry.ts';

const UNITS = ['', 'K', 'M', 'G', 'T', 'P'];
const SIZE = /^(\d+)(\.\d+)?\s*([KMGTP]?)(?:i?B)?$/i;
/** What `SIZE` lets through but means powers of 1000 elsewhere. */
const DECIMAL_UNIT = /[KMGTP]B$/i;

export const SIZE_HINT = 'bytes, or a number with K, M, G, T or P (powers of 1024), as in 512M';

export function parseSize(text: string): number | undefined {
  const match = text.trim().match(SIZE);
  if (match === null || DECIMAL_UNIT.test(text)) return undefined;
  const unitBytes = 1024 ** UNITS.indexOf(match[3]!.toUpperCase());
  const bytes = Number(`${match[1]}${match[2] ?? ''}`) * unitBytes;
  const wholeBytes = Number.isInteger(bytes) ? bytes : blocksOf(bytes) * BLOCK_BYTES;
  return Number.isSafeInteger(wholeBytes) ? wholeBytes : undefined;
}

/** In the largest unit that leaves a number of at least one, with two decimals at most. */
export function formatSize(bytes: number): string {
  let unit = 0;
  while (unit < UNITS.length - 1 && bytes >= 1024 ** (unit + 1)) unit += 1;
  const value = Number((bytes / 1024 ** unit).toFixed(2));
  return unit === 0 ? `${value} B` : `${value} ${UNITS[unit]}iB`;
}

/** A size between the bounds, which the message names. */
export function sizeSchema(minBytes: number, maxBytes: number) {
  const range = `from ${formatSize(minBytes)} to ${formatSize(maxBytes)}`;
  return z.string().transform((text, context) => {
    const bytes = parseSize(text);
    if (bytes !== undefined && bytes >= minBytes && bytes <= maxBytes) return bytes;
    context.addIssue({ code: 'custom', message: `${SIZE_HINT}, ${range}` });
    return z.NEVER;
  });
}
