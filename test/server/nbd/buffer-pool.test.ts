import test from 'ava';
import fc from 'fast-check';
import {
  BufferPool,
  FREE_BYTES_MAX,
  HEADS_BYTES,
  OUTPUT_BYTES,
  RECEIVE_BYTES,
} from '../../../server/nbd/buffer-pool.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

test('a buffer holds what was asked for, and less than twice that', (t) => {
  const pool = new BufferPool();
  fc.assert(
    fc.property(fc.integer({ min: 4 * KIB, max: 9 * MIB }), (bytes) => {
      const buffer = pool.take(bytes);
      t.true(buffer.length >= bytes && buffer.length < 2 * bytes, `${buffer.length} for ${bytes}`);
      pool.give(buffer);
    }),
    { numRuns: 200 },
  );
});

test('powers of two are held with the heads of what is in them, and not a byte more', (t) => {
  const pool = new BufferPool();
  for (let bytes = 4 * KIB; bytes <= 8 * MIB; bytes *= 2) {
    t.is(pool.take(bytes).length, bytes + HEADS_BYTES);
    t.is(pool.take(bytes + HEADS_BYTES).length, bytes + HEADS_BYTES);
    t.true(pool.take(bytes + HEADS_BYTES + 1).length > bytes + HEADS_BYTES);
  }
  t.is(pool.take(RECEIVE_BYTES).length, RECEIVE_BYTES);
  t.is(pool.take(OUTPUT_BYTES).length, OUTPUT_BYTES);
});

test('the largest request gets a buffer of its size, which is not kept', (t) => {
  const pool = new BufferPool();
  const bytes = 32 * MIB + 28;
  const buffer = pool.take(bytes);
  t.is(buffer.length, bytes);
  pool.give(buffer);
  t.not(pool.take(bytes), buffer);
});

test('the buffer given back last is lent first, and to one borrower', (t) => {
  const pool = new BufferPool();
  const [one, other] = [pool.take(MIB), pool.take(MIB)];
  pool.give(one);
  pool.give(other);
  t.is(pool.take(MIB), other);
  t.is(pool.take(MIB), one);
  t.false([one, other].includes(pool.take(MIB)));
});

test('free buffers are bounded together', (t) => {
  const pool = new BufferPool();
  const lent = Array.from({ length: 40 }, () => pool.take(MIB));
  for (const buffer of lent) pool.give(buffer);
  let kept = 0;
  while (lent.includes(pool.take(MIB))) kept += 1;
  t.is(kept, Math.floor(FREE_BYTES_MAX / (MIB + HEADS_BYTES)));
});

test('buffers of a size that is in use take the place of free ones of another', (t) => {
  const pool = new BufferPool();
  const large = Array.from({ length: 40 }, () => pool.take(MIB));
  const small = Array.from({ length: 20 }, () => pool.take(128 * KIB));
  for (const buffer of [...large, ...small]) pool.give(buffer);
  for (let i = 0; i < small.length; i += 1) t.true(small.includes(pool.take(128 * KIB)));
});

test('payload behind a head stands where copying it to or from a block is fast', (t) => {
  const buffers = [4 * KIB, 128 * KIB, MIB, 40 * MIB].map((bytes) => new BufferPool().take(bytes));
  for (const { byteOffset } of [...buffers, new BufferPool().shared]) {
    // Memory begins 0 or 16 bytes behind a page; a head has 16 to 28 bytes.
    for (const at of [byteOffset, byteOffset + 16]) {
      for (const payloadAt of [at, at + 16, at + 28]) {
        t.true(payloadAt > 31 && payloadAt < 4096, `payload ${payloadAt} bytes behind a block`);
      }
    }
  }
});
