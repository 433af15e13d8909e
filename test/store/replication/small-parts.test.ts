/** The parts that stand alone: sets of objects and blocks, the rate, gates, states, checksums. */
import { crc32 } from '@node-rs/crc32';
import test from 'ava';
import { badBlocks, blockChecksums } from '../../../store/replication/block-checksums.ts';
import {
  addExtents,
  emptyBlockSet,
  hasBlockIn,
  isCovered,
} from '../../../store/replication/block-set.ts';
import { ByteRate } from '../../../store/replication/byte-rate.ts';
import { ObjectBitmap } from '../../../store/replication/object-bitmap.ts';
import { ObjectGates } from '../../../store/replication/object-gates.ts';
import { moveReplica } from '../../../store/replication/replica-states.ts';
import { outcomeOf } from './sim/scene.ts';
import { SimClock, SimTimeline } from './sim/sim-clock.ts';

test('an object bitmap holds what was added, counts it once, and forgets what was deleted', (t) => {
  const bitmap = new ObjectBitmap();
  for (const index of [0, 31, 32, 8191, 8192, 16_777_215, 31]) bitmap.add(index);
  t.is(bitmap.count, 6);
  bitmap.delete(32);
  bitmap.delete(33);
  t.is(bitmap.count, 5);
  t.deepEqual([...bitmap], [0, 31, 8191, 8192, 16_777_215]);
  t.false(bitmap.has(32));
  bitmap.clear();
  t.is(bitmap.count, 0);
});

test('an object bitmap may change while it is walked', (t) => {
  const bitmap = new ObjectBitmap();
  for (let index = 0; index < 100; index++) bitmap.add(index);
  const seen: number[] = [];
  for (const index of bitmap) {
    seen.push(index);
    bitmap.delete(index);
    bitmap.delete(index + 1);
  }
  t.is(seen.length, 50);
  t.is(bitmap.count, 0);
});

test('a block set knows which blocks are in it and whether extents cover it', (t) => {
  const set = emptyBlockSet(16);
  addExtents(set, [{ startBlock: 6, blockCount: 4, kind: 2 }]);
  t.true(hasBlockIn(set, 9, 3));
  t.false(hasBlockIn(set, 10, 6));
  t.true(isCovered(set, [{ startBlock: 5, blockCount: 5, kind: 0 }], 16));
  t.false(isCovered(set, [{ startBlock: 7, blockCount: 5, kind: 0 }], 16));
});

test('the rate is kept over time, and a burst is one second s worth', async (t) => {
  const timeline = new SimTimeline();
  const rate = new ByteRate(new SimClock(timeline), 1000);
  await timeline.pass(60_000);
  let bytes = 0;
  const startedMs = timeline.nowMs;
  const work = (async () => {
    while (bytes < 5000) {
      await rate.take();
      rate.book(250);
      bytes += 250;
    }
  })();
  await timeline.until('work', 10_000, work);
  const seconds = (timeline.nowMs - startedMs) / 1000;
  t.true(seconds > 3.4 && seconds < 4.1, `5000 bytes in ${seconds} s`);
});

test('gates are held by one at a time, in the order of asking', async (t) => {
  const gates = new ObjectGates();
  const order: string[] = [];
  const openFirst = await gates.hold(1);
  const second = gates.hold(1).then((open) => {
    order.push('second');
    open();
  });
  const third = gates.hold(1).then((open) => {
    order.push('third');
    open();
  });
  const other = outcomeOf(gates.hold(2).then((open) => open()));
  await new Promise(setImmediate);
  t.is(other.state, 'done');
  t.deepEqual(order, []);
  openFirst();
  await Promise.all([second, third]);
  t.deepEqual(order, ['second', 'third']);
  t.false(gates.areAnyHeld);
});

test('an illegal move of a replica names the legal ones', (t) => {
  t.is(moveReplica('out', 'listing'), 'listing');
  t.throws(() => moveReplica('out', 'inSync'), {
    message: 'a replica cannot move from out to inSync; only to listing',
  });
});

test('checksums are those of each block, wherever buffers begin and end', (t) => {
  const bytes = Buffer.alloc(4 * 4096);
  for (let block = 0; block < 4; block++) bytes.fill(block + 1, block * 4096, (block + 1) * 4096);
  const split = [bytes.subarray(0, 4096), bytes.subarray(4096, 12_288), bytes.subarray(12_288)];
  const expected = [0, 1, 2, 3].map((block) =>
    crc32(bytes.subarray(block * 4096, (block + 1) * 4096)),
  );
  t.deepEqual([...blockChecksums(split)], expected);
});

test('bad blocks are found among data blocks only', (t) => {
  const buffers = [Buffer.alloc(4096, 1), Buffer.alloc(2 * 4096, 2)];
  const checksums = blockChecksums(buffers);
  buffers[0]![5] = 9;
  buffers[1]![4096] = 9;
  t.deepEqual(badBlocks(buffers, Uint8Array.of(2, 2, 2), checksums), [0, 2]);
  t.deepEqual(badBlocks(buffers, Uint8Array.of(0, 2, 1), checksums), []);
});
