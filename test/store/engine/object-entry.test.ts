import test from 'ava';
import {
  isStored,
  ObjectEntry,
  PAGE_BLOCKS,
  SEGMENT_HOLE,
  SEGMENT_ZERO,
} from '../../../store/engine/object-entry.ts';
import { randomForTest } from '../../support/seeded-random.ts';

const BLOCKS = 1024;

function put(entry: ObjectEntry, block: number): void {
  entry.reach(block, block + 1);
  entry.put(block, 7, 8, 9);
}

test('blocks lie where a plain list says, whatever is written, zeroed and trimmed', (t) => {
  const random = randomForTest(t);
  const entry = new ObjectEntry(1, 2, 3);
  const model: number[][] = Array.from({ length: BLOCKS }, () => [SEGMENT_HOLE]);
  for (let step = 0; step < 3000; step += 1) {
    const start = random.below(BLOCKS);
    const end = Math.min(BLOCKS, start + 1 + random.below(random.chance(0.5) ? 5 : 200));
    const roll = random.below(10);
    if (roll < 6) {
      entry.reach(start, end);
      for (let block = start; block < end; block += 1) {
        const place = [1 + random.below(5), random.below(2 ** 16), random.below(2 ** 32)];
        entry.put(block, place[0]!, place[1]!, place[2]!);
        model[block] = place;
      }
    } else if (step % 500 === 499) {
      entry.clear();
      model.fill([SEGMENT_HOLE]);
    } else {
      const mark = roll < 8 ? SEGMENT_ZERO : SEGMENT_HOLE;
      entry.mark(start, end, mark);
      model.fill([mark], start, end);
    }
    if (step % 10 !== 0) continue;
    for (let block = 0; block < BLOCKS; block += 1) {
      const segmentId = entry.segmentAt(block);
      const place = isStored(segmentId)
        ? [segmentId, entry.positionAt(block), entry.crcAt(block)]
        : [segmentId];
      if (`${place}` !== `${model[block]}`) t.fail(`step ${step}, block ${block}: ${place}`);
      for (let next = block + 1; next < block + entry.uniformBlocks(block); next += 1) {
        if (`${model[next]}` !== `${model[block]}`) t.fail(`step ${step}: ${next} is not uniform`);
      }
    }
  }
  t.pass();
});

test('an object of which one block was written takes little memory, wherever the block is', (t) => {
  const empty = new ObjectEntry(1, 2, 3).bytes;
  for (const block of [0, PAGE_BLOCKS, BLOCKS - 1]) {
    const entry = new ObjectEntry(1, 2, 3);
    put(entry, block);
    t.true(entry.bytes - empty <= 16 * PAGE_BLOCKS);
  }
});

test('an object that is all zeros takes no memory for its blocks', (t) => {
  const entry = new ObjectEntry(1, 2, 3);
  const empty = entry.bytes;
  entry.mark(0, BLOCKS, SEGMENT_ZERO);
  t.is(entry.bytes, empty);
  t.is(entry.segmentAt(BLOCKS - 1), SEGMENT_ZERO);
});

test('pages that were zeroed or trimmed as a whole make room for others', (t) => {
  const entry = new ObjectEntry(1, 2, 3);
  put(entry, 0);
  const { bytes } = entry;
  for (let page = 1; page < BLOCKS / PAGE_BLOCKS; page += 1) {
    const start = (page - 1) * PAGE_BLOCKS;
    entry.mark(start, start + PAGE_BLOCKS, page % 2 === 0 ? SEGMENT_ZERO : SEGMENT_HOLE);
    put(entry, start + PAGE_BLOCKS);
  }
  t.is(entry.bytes, bytes);
});

test('a full object takes 10 bytes a block', (t) => {
  const entry = new ObjectEntry(1, 2, 3);
  const empty = entry.bytes;
  for (let block = BLOCKS - 1; block >= 0; block -= 1) put(entry, block);
  t.is(entry.bytes - empty, 10 * BLOCKS);
});
