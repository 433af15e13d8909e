import test from 'ava';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { SCRATCH_KEPT_BYTES_MAX } from '../../../store/replication/limits.ts';
import { ScratchBuffers } from '../../../store/replication/scratch-buffers.ts';

function takeMany(scratch: ScratchBuffers, count: number, blockCount: number): Buffer[] {
  return Array.from({ length: count }, () => scratch.take(blockCount));
}

test('a buffer that came back is used again, and by one read at a time', (t) => {
  const scratch = new ScratchBuffers();
  const [first, second] = takeMany(scratch, 2, 33);
  t.true(first!.length >= 33 * BLOCK_BYTES);
  t.not(first, second);
  scratch.giveBack(first!);
  t.is(scratch.take(40), first!);
  t.not(scratch.take(40), first!);
});

test('reads of whole objects leave room for the buffers of later small reads', (t) => {
  const scratch = new ScratchBuffers();
  for (const buffer of takeMany(scratch, 8, 1024)) scratch.giveBack(buffer);
  t.is(scratch.keptBytes, SCRATCH_KEPT_BYTES_MAX);
  const small = takeMany(scratch, 16, 32);
  for (const buffer of small) scratch.giveBack(buffer);
  t.true(takeMany(scratch, 16, 32).every((buffer) => small.includes(buffer)));
});

test('what is kept is bounded, whatever the sizes', (t) => {
  const scratch = new ScratchBuffers();
  for (const blockCount of [1, 4096, 64, 1024, 3, 64, 4096, 200]) {
    const count = (2 * SCRATCH_KEPT_BYTES_MAX) / (blockCount * BLOCK_BYTES);
    for (const buffer of takeMany(scratch, Math.ceil(count), blockCount)) scratch.giveBack(buffer);
    t.true(scratch.keptBytes <= SCRATCH_KEPT_BYTES_MAX);
  }
});
