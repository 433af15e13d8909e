import test from 'ava';
import { BufferPool } from '../../../store/peer/buffer-pool.ts';
import {
  PAYLOAD_BUFFER_BYTES_MAX,
  PAYLOAD_BYTES_MAX,
  PAYLOAD_PIECE_BYTES,
} from '../../../store/peer/limits.ts';
import { isAligned } from '../../../store/runtime/aligned-buffer.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const PAGE_BYTES = 4096;
const MIB = 1024 * 1024;

function take(pool: BufferPool, bytes: number): Buffer[] {
  const buffers: Buffer[] = [];
  pool.take(bytes, buffers);
  return buffers;
}

function bytesOf(buffers: readonly Buffer[]): number {
  return buffers.reduce((sum, buffer) => sum + buffer.length, 0);
}

/** As a write of this content does; every page has a mark of its own. */
function mark(buffers: readonly Buffer[], seed: number): void {
  for (const buffer of buffers) {
    for (let at = 0; at < buffer.length; at += PAGE_BYTES) {
      buffer.writeUInt32LE(seed + at, at);
      buffer.writeUInt32LE(seed + at, at + PAGE_BYTES - 4);
    }
  }
}

function isMarked(buffers: readonly Buffer[], seed: number): boolean {
  return buffers.every((buffer) => {
    for (let at = 0; at < buffer.length; at += PAGE_BYTES) {
      const isKept =
        buffer.readUInt32LE(at) === seed + at &&
        buffer.readUInt32LE(at + PAGE_BYTES - 4) === seed + at;
      if (!isKept) return false;
    }
    return true;
  });
}

test('every size is lent as aligned buffers that add up to it', (t) => {
  const pool = new BufferPool(64 * MIB);
  for (let pages = 1; pages <= PAYLOAD_BYTES_MAX / PAGE_BYTES; pages += pages < 130 ? 1 : 61) {
    const buffers = take(pool, pages * PAGE_BYTES);
    t.is(bytesOf(buffers), pages * PAGE_BYTES);
    t.true(buffers.every(isAligned));
    t.true(buffers.length <= pages / 64 + 6, `${pages} pages in ${buffers.length} buffers`);
    pool.give(buffers);
  }
  t.true(pool.totalBytes <= PAYLOAD_BYTES_MAX + PAYLOAD_PIECE_BYTES);
});

test('a size that is not of whole pages is a bug', (t) => {
  const pool = new BufferPool(0);
  t.throws(() => pool.take(100, []), { message: /100 bytes are not whole pages/ });
});

test('nothing takes no memory', (t) => {
  const pool = new BufferPool(64 * MIB);
  t.deepEqual(take(pool, 0), []);
  t.is(pool.totalBytes, 0);
});

test('what came back last is lent first, and is the same buffer', (t) => {
  const pool = new BufferPool(64 * MIB);
  for (const bytes of [PAGE_BYTES, 28 * 1024, PAYLOAD_BUFFER_BYTES_MAX]) {
    const others = take(pool, bytes);
    const buffers = take(pool, bytes);
    pool.give(buffers);
    const again = take(pool, bytes);
    t.true(buffers.every((buffer) => again.includes(buffer)));
    pool.give(again);
    pool.give(others);
  }
});

test('parts that came back are a whole again, in whatever order they came', (t) => {
  const random = new SeededRandom(Number(process.env['DROVER_TEST_SEED'] ?? Date.now()));
  t.log(`seed ${random.seed}`);
  const pool = new BufferPool(64 * MIB);
  const pages = PAYLOAD_PIECE_BYTES / PAGE_BYTES;
  const lent = Array.from({ length: pages }, () => take(pool, PAGE_BYTES));
  while (lent.length > 0) pool.give(lent.splice(random.below(lent.length), 1)[0]!);
  const whole = take(pool, PAYLOAD_PIECE_BYTES);
  t.is(whole.length, PAYLOAD_PIECE_BYTES / PAYLOAD_BUFFER_BYTES_MAX);
  t.is(pool.totalBytes, PAYLOAD_PIECE_BYTES);
});

test('memory cut into small free parts is lent as such, before there is more memory', (t) => {
  const pool = new BufferPool(64 * MIB);
  const lent = Array.from({ length: PAYLOAD_PIECE_BYTES / PAGE_BYTES }, () =>
    take(pool, PAGE_BYTES),
  );
  for (let i = 0; i < lent.length; i += 2) pool.give(lent[i]!);
  const buffers = take(pool, PAYLOAD_PIECE_BYTES / 2);
  t.is(buffers.length, 512);
  t.is(pool.totalBytes, PAYLOAD_PIECE_BYTES);
  t.is(pool.spareBytes, 0);
});

test('buffers lent never overlap, and there is no more memory than was lent at once', (t) => {
  const random = new SeededRandom(Number(process.env['DROVER_TEST_SEED'] ?? Date.now()));
  t.log(`seed ${random.seed}`);
  const pool = new BufferPool(8 * MIB);
  const lent: { readonly buffers: Buffer[]; readonly seed: number }[] = [];
  let lentBytes = 0;
  let lentBytesMax = 0;
  for (let round = 0; round < 3000; round += 1) {
    if (lent.length === 0 || random.below(100) < (round % 600 < 300 ? 60 : 35)) {
      const pagesMax = [2, 40, 600][random.below(3)]!;
      const buffers = take(pool, (1 + random.below(pagesMax)) * PAGE_BYTES);
      mark(buffers, round * 7919);
      lent.push({ buffers, seed: round * 7919 });
      lentBytes += bytesOf(buffers);
      lentBytesMax = Math.max(lentBytes, lentBytesMax);
    } else {
      const { buffers, seed } = lent.splice(random.below(lent.length), 1)[0]!;
      if (!isMarked(buffers, seed)) t.fail(`round ${round}: what was lent was overwritten`);
      pool.give(buffers);
      lentBytes -= bytesOf(buffers);
    }
    if (pool.totalBytes - pool.spareBytes !== lentBytes) t.fail(`round ${round}: pages missing`);
    if (pool.totalBytes >= lentBytesMax + PAYLOAD_PIECE_BYTES) t.fail(`round ${round}: too much`);
  }
  for (const { buffers } of lent) pool.give(buffers);
  t.is(pool.spareBytes, pool.totalBytes);
  t.true(pool.totalBytes <= 8 * MIB);
});

test('what is lost is never lent again, and memory does not grow by it', (t) => {
  const pool = new BufferPool(64 * MIB);
  const lost: { readonly buffers: Buffer[]; readonly seed: number }[] = [];
  for (let round = 0; round < 3000; round += 1) {
    const buffers = take(pool, (1 + (round % 5)) * PAGE_BYTES);
    mark(buffers, round);
    if (round % 2 === 0) {
      pool.lose(buffers);
      lost.push({ buffers, seed: round });
    } else {
      pool.give(buffers);
    }
    t.true(pool.totalBytes <= 2 * PAYLOAD_PIECE_BYTES);
  }
  t.true(lost.every(({ buffers, seed }) => isMarked(buffers, seed)));
});

test('a buffer of memory that was let go of may come back, and is not lent again', (t) => {
  const pool = new BufferPool(64 * MIB);
  const early = take(pool, PAGE_BYTES);
  pool.lose(take(pool, 3 * MIB));
  t.is(pool.totalBytes, 0);
  pool.give(early);
  t.not(take(pool, PAGE_BYTES)[0]!.buffer, early[0]!.buffer);
});

test('to give or lose a buffer twice is a bug', (t) => {
  const pool = new BufferPool(64 * MIB);
  for (const bytes of [PAGE_BYTES, 4 * PAGE_BYTES]) {
    const buffers = take(pool, bytes);
    const other = take(pool, bytes);
    pool.give(buffers);
    t.throws(() => pool.give(buffers), { message: /are not lent/ });
    t.throws(() => pool.lose(buffers), { message: /are not lent/ });
    pool.lose(other);
    t.throws(() => pool.give(other), { message: /are not lent/ });
  }
});
