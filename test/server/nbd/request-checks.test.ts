import test from 'ava';
import { checkRequest, type RequestTerms } from '../../../server/nbd/request-checks.ts';

const READ = 0;
const WRITE = 1;
const FLUSH = 3;
const TRIM = 4;
const CACHE = 5;
const WRITE_ZEROES = 6;
const BLOCK_STATUS = 7;

const EPERM = 1;
const EINVAL = 22;
const ENOSPC = 28;
const EOVERFLOW = 75;

const MIB = 1024 * 1024;
const SIZE = 100 * MIB;

const TERMS: RequestTerms = {
  sizeBytes: SIZE,
  isReadOnly: false,
  structuredReplies: true,
  baseAllocation: true,
};
const SIMPLE = { ...TERMS, structuredReplies: false, baseAllocation: false };
const READ_ONLY = { ...TERMS, isReadOnly: true };

interface Asked {
  readonly flags?: number;
  readonly offset?: number;
  readonly lengthBytes?: number;
}

function errorOf(command: number, asked: Asked, terms = TERMS): number {
  const { flags = 0, offset = 0, lengthBytes = command === FLUSH ? 0 : 4096 } = asked;
  const request = { command, flags, cookieHigh: 0, cookieLow: 1, offset, lengthBytes };
  return checkRequest(request, terms)?.error ?? 0;
}

test('unknown commands are EINVAL', (t) => {
  for (const command of [8, 9, 100, 0xffff]) t.is(errorOf(command, {}), EINVAL);
});

const FLAGS_ALLOWED: readonly (readonly [string, number, number])[] = [
  ['READ', READ, 0b00101],
  ['WRITE', WRITE, 0b00001],
  ['FLUSH', FLUSH, 0b00001],
  ['TRIM', TRIM, 0b00001],
  ['CACHE', CACHE, 0b00001],
  ['WRITE_ZEROES', WRITE_ZEROES, 0b10011],
  ['BLOCK_STATUS', BLOCK_STATUS, 0b01001],
];

for (const [name, command, allowed] of FLAGS_ALLOWED) {
  test(`${name} accepts FUA and the flags of its own, and no other`, (t) => {
    for (let bit = 0; bit < 16; bit += 1) {
      const expected = (allowed & (1 << bit)) === 0 ? EINVAL : 0;
      t.is(errorOf(command, { flags: 1 << bit }), expected, `bit ${bit}`);
    }
    t.is(errorOf(command, { flags: allowed }), 0);
  });
}

test('DF needs structured replies', (t) => {
  t.is(errorOf(READ, { flags: 4 }, SIMPLE), EINVAL);
});

test('a read-only export refuses every change with EPERM', (t) => {
  for (const command of [WRITE, TRIM, WRITE_ZEROES]) {
    t.is(errorOf(command, {}, READ_ONLY), EPERM);
    t.is(errorOf(command, { lengthBytes: 33 * MIB }, READ_ONLY), EPERM);
    t.is(errorOf(command, { offset: SIZE }, READ_ONLY), EPERM);
  }
  for (const command of [READ, FLUSH, CACHE, BLOCK_STATUS]) {
    t.is(errorOf(command, {}, READ_ONLY), 0);
  }
});

test('the last byte is within the export and the next one is not', (t) => {
  for (const command of [READ, WRITE, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS]) {
    t.is(errorOf(command, { offset: SIZE - 1, lengthBytes: 1 }), 0);
    t.not(errorOf(command, { offset: SIZE - 1, lengthBytes: 2 }), 0);
    t.not(errorOf(command, { offset: SIZE, lengthBytes: 1 }), 0);
  }
});

test('reading past the end is EINVAL, changing past the end ENOSPC', (t) => {
  const past = { offset: SIZE - 4095 };
  for (const command of [READ, CACHE, BLOCK_STATUS]) t.is(errorOf(command, past), EINVAL);
  for (const command of [WRITE, TRIM, WRITE_ZEROES]) t.is(errorOf(command, past), ENOSPC);
});

test('offset and length never overflow', (t) => {
  for (const offset of [2 ** 64 - 1, 2 ** 64 - 4096, 2 ** 63, 2 ** 53]) {
    t.is(errorOf(READ, { offset }), EINVAL);
    t.is(errorOf(WRITE, { offset }), ENOSPC);
    t.is(errorOf(TRIM, { offset, lengthBytes: 2 ** 32 - 1 }), ENOSPC);
  }
});

test('payload above 32 MiB is refused: EOVERFLOW only for a structured READ', (t) => {
  t.is(errorOf(READ, { lengthBytes: 32 * MIB }), 0);
  t.is(errorOf(READ, { lengthBytes: 32 * MIB + 1 }), EOVERFLOW);
  t.is(errorOf(READ, { lengthBytes: 32 * MIB + 1, flags: 4 }), EOVERFLOW);
  t.is(errorOf(READ, { lengthBytes: 32 * MIB + 1 }, SIMPLE), EINVAL);
  t.is(errorOf(WRITE, { lengthBytes: 32 * MIB }), 0);
  t.is(errorOf(WRITE, { lengthBytes: 32 * MIB + 1 }), EINVAL);
});

test('commands without payload take any length', (t) => {
  const vast = { ...TERMS, sizeBytes: 2 ** 40 };
  for (const command of [TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS]) {
    t.is(errorOf(command, { lengthBytes: 2 ** 32 - 1 }, vast), 0);
  }
});

test('a flush with offset or length is EINVAL', (t) => {
  t.is(errorOf(FLUSH, { offset: 1 }), EINVAL);
  t.is(errorOf(FLUSH, { lengthBytes: 1 }), EINVAL);
});

test('a length of zero is fine but for BLOCK_STATUS', (t) => {
  for (const command of [READ, WRITE, TRIM, CACHE, WRITE_ZEROES]) {
    t.is(errorOf(command, { offset: SIZE, lengthBytes: 0 }), 0);
    t.not(errorOf(command, { offset: SIZE + 1, lengthBytes: 0 }), 0);
  }
  t.is(errorOf(BLOCK_STATUS, { lengthBytes: 0 }), EINVAL);
});

test('BLOCK_STATUS without a context is EINVAL', (t) => {
  t.is(errorOf(BLOCK_STATUS, {}, { ...TERMS, baseAllocation: false }), EINVAL);
});
