/**
 * What is found after a crash: torn ends are dropped, everything else is told.
 */

import { crc32 } from '@node-rs/crc32';
import test, { type ExecutionContext } from 'ava';
import { decodeSegmentHeader } from '../../../store/engine/segment-header.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { DroverError, isDroverError } from '../../../store/runtime/drover-error.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import {
  cutFile,
  type FoundBatch,
  findBatches,
  flipByte,
  overwrite,
  segmentPaths,
} from './damage.ts';
import { version, writeBlock, writeOf } from './sample-blocks.ts';
import { SimulatedNode, SMALL_LIMITS } from './simulated-node.ts';

/** No checkpoint comes between: everything is replayed. */
const LAZY = { ...SMALL_LIMITS, checkpointLogBytes: 2 ** 40, checkpointAgeMs: 2 ** 40 };
const SEGMENT_BYTES = SMALL_LIMITS.segmentBytes!;

/** Object 0 written `writes` times, one batch each, then power is cut. */
async function crashedNode(writes: number): Promise<SimulatedNode> {
  const node = new SimulatedNode(new SeededRandom(3), { limits: LAZY });
  await node.open();
  for (let seq = 1; seq <= writes; seq += 1) {
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  }
  node.crash();
  return node;
}

function lastBatch(node: SimulatedNode): FoundBatch {
  return findBatches(node).at(-1)!;
}

function bytesAt(batch: FoundBatch): number {
  return batch.position * BLOCK_BYTES;
}

async function expectContent(t: ExecutionContext, node: SimulatedNode, seq: number): Promise<void> {
  t.deepEqual(await node.versionOf(1, 0), version(seq));
  t.deepEqual(await node.contentOf(1, 0, version(seq), 1), [seq]);
}

/** Opens, writes on, cuts power and opens again. */
async function goesOn(t: ExecutionContext, node: SimulatedNode, seq: number): Promise<void> {
  await node.open();
  await expectContent(t, node, seq);
  await node.run(node.engine.write(writeBlock(0, seq + 1, 0, seq + 1)));
  await node.run(node.engine.write(writeBlock(0, seq + 2, 0, seq + 2)));
  node.crash();
  await node.open();
  await expectContent(t, node, seq + 2);
}

async function refusal(node: SimulatedNode): Promise<DroverError> {
  try {
    await node.open();
  } catch (error) {
    if (error instanceof DroverError) return error;
    throw error;
  }
  throw new Error('it opened');
}

test('everything acknowledged is replayed, over several segments', async (t) => {
  const node = await crashedNode(100);
  t.true(segmentPaths(node).length > 3);
  await goesOn(t, node, 100);
});

const tears: Readonly<Record<string, (node: SimulatedNode, last: FoundBatch) => void>> = {
  'its payload overwritten': (node, last) =>
    overwrite(node, last.path, bytesAt(last) + BLOCK_BYTES, Buffer.alloc(100, 0xee)),
  'its header overwritten': (node, last) =>
    overwrite(node, last.path, bytesAt(last), Buffer.alloc(100, 0xee)),
  'one byte of its header changed': (node, last) => flipByte(node, last.path, bytesAt(last) + 70),
  'the file cut within its payload': (node, last) =>
    cutFile(node, last.path, bytesAt(last) + BLOCK_BYTES + 512),
  'the file cut within its header': (node, last) => cutFile(node, last.path, bytesAt(last) + 512),
  'the file cut before it': (node, last) => cutFile(node, last.path, bytesAt(last)),
};

for (const [name, tear] of Object.entries(tears)) {
  test(`the newest batch with ${name} is a torn end: dropped, and the log goes on`, async (t) => {
    for (const writes of [5, 15, 16, 17, 40]) {
      const node = await crashedNode(writes);
      tear(node, lastBatch(node));
      await goesOn(t, node, writes - 1);
    }
  });
}

test('the newest segment may be cut right after its newest batch', async (t) => {
  const node = await crashedNode(5);
  const last = lastBatch(node);
  cutFile(node, last.path, bytesAt(last) + 2 * BLOCK_BYTES);
  await goesOn(t, node, 5);
});

test('garbage in the unused rest of the newest segment does not matter', async (t) => {
  const node = await crashedNode(5);
  const last = lastBatch(node);
  const end = bytesAt(last) + 2 * BLOCK_BYTES;
  overwrite(node, last.path, end, new SeededRandom(9).bytes(SEGMENT_BYTES - end));
  await goesOn(t, node, 5);
});

test('a newest segment without a readable header and without a batch does not matter', async (t) => {
  const node = new SimulatedNode(new SeededRandom(3), { limits: LAZY });
  await node.open();
  for (let seq = 1; seq <= 5; seq += 1) {
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  }
  await node.scheduler.steps(100);
  node.crash();
  const newest = segmentPaths(node).at(-1)!;
  t.not(newest, lastBatch(node).path);
  overwrite(node, newest, 0, Buffer.alloc(BLOCK_BYTES, 0xee));
  await goesOn(t, node, 5);
});

test('a batch that is whole is kept although its writer was never answered', async (t) => {
  const node = new SimulatedNode(new SeededRandom(3), { limits: LAZY });
  await node.open();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 1)));
  void node.engine.write(writeBlock(0, 2, 0, 2));
  const path = segmentPaths(node)[0]!;
  await node.scheduler.settle();
  const [change] = node.disk.contentOf(path).inFlight;
  t.is(change?.kind, 'write');
  if (change?.kind === 'write') overwrite(node, path, change.position, change.bytes);
  node.crash();
  await goesOn(t, node, 2);
});

test('what a killed process wrote is synced before it is trusted', async (t) => {
  for (let seed = 0; seed < 40; seed += 1) {
    const node = new SimulatedNode(new SeededRandom(seed), { limits: LAZY });
    await node.open();
    await node.run(node.engine.write(writeBlock(0, 1, 0, 1)));
    void node.engine.write(writeBlock(0, 2, 0, 2));
    await node.scheduler.steps(node.random.below(4));
    node.crash(true);
    await node.open();
    const { seq } = await node.versionOf(1, 0);
    await expectContent(t, node, seq);
    node.crash();
    await node.open();
    await expectContent(t, node, seq);
  }
});

const damages: Readonly<Record<string, (node: SimulatedNode, middle: FoundBatch) => void>> = {
  'a damaged header': (node, middle) => flipByte(node, middle.path, bytesAt(middle) + 70),
  'an erased header': (node, middle) =>
    overwrite(node, middle.path, bytesAt(middle), Buffer.alloc(BLOCK_BYTES)),
  'damaged payload': (node, middle) => flipByte(node, middle.path, bytesAt(middle) + BLOCK_BYTES),
};

for (const [name, damage] of Object.entries(damages)) {
  test(`${name} before a whole batch is refused, and segment and place are named`, async (t) => {
    for (const victim of [2, 14, 15, 16, 19]) {
      const node = await crashedNode(20);
      const middle = findBatches(node).find(({ batchSeq }) => batchSeq === victim)!;
      damage(node, middle);
      const error = await refusal(node);
      t.is(error.kind, 'corrupt');
      const segment = Number(/(\d+)\.seg/.exec(middle.path)?.[1]);
      t.regex(error.message, /segment \d+ at byte \d+/);
      if (victim !== 16)
        t.regex(error.message, new RegExp(`segment ${segment} at byte ${bytesAt(middle)}`));
    }
  });
}

test('a segment that is missing in the middle is refused', async (t) => {
  const node = await crashedNode(60);
  await node.run(node.disk.remove(segmentPaths(node)[1]!));
  t.is((await refusal(node)).kind, 'corrupt');
});

test('a damaged header of a segment with batches is refused', async (t) => {
  for (const at of [0, 1]) {
    const node = await crashedNode(20);
    overwrite(node, segmentPaths(node)[at]!, 0, Buffer.alloc(100, 0xee));
    t.is((await refusal(node)).kind, 'corrupt');
  }
});

test('an end of the log before what the index knows of is refused', async (t) => {
  const node = new SimulatedNode(new SeededRandom(3), { limits: LAZY });
  await node.open();
  for (let seq = 1; seq <= 5; seq += 1)
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  const checkpoint = node.engine.checkpoint();
  const later = node.engine.write(writeBlock(1, 1, 0, 1));
  // The checkpoint begins before the later write, and is held up until that is durable.
  await node.run(later);
  await node.run(checkpoint);
  await node.run(node.engine.write(writeBlock(0, 6, 0, 6)));
  await node.run(node.engine.checkpoint());
  node.crash();
  for (const path of segmentPaths(node))
    overwrite(node, path, 0, Buffer.alloc(SEGMENT_BYTES, 0xee));
  t.is((await refusal(node)).kind, 'corrupt');
});

test('asked to degrade, the node opens, lists the damage, and drops what lost its base', async (t) => {
  const node = new SimulatedNode(new SeededRandom(3), { limits: LAZY });
  await node.open();
  for (let seq = 1; seq <= 4; seq += 1) {
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
    await node.run(node.engine.write(writeBlock(1, seq, 0, seq)));
  }
  node.crash();
  const lost = findBatches(node).find(({ batchSeq }) => batchSeq === 5)!;
  flipByte(node, lost.path, bytesAt(lost) + 70);
  await node.open({ onDamage: 'degrade' });
  t.true(node.engine.damage.length >= 2);
  t.deepEqual(await node.versionOf(1, 0), version(0));
  t.deepEqual(await node.contentOf(1, 1, version(4), 1), [4]);
  await node.run(node.engine.write(writeBlock(1, 5, 0, 5)));
  node.crash();
  await node.open();
  t.deepEqual(node.engine.damage, []);
  t.deepEqual(await node.versionOf(1, 0), version(0));
  t.deepEqual(await node.contentOf(1, 1, version(5), 1), [5]);
});

test('a directory whose log lacks records is another one from then on', async (t) => {
  const node = await crashedNode(4);
  const { directoryId } = node.engine;
  const lost = findBatches(node)[2]!;
  flipByte(node, lost.path, bytesAt(lost) + 70);
  await node.open({ onDamage: 'degrade' });
  const renamed = node.engine.directoryId;
  t.not(renamed, directoryId);
  node.crash();
  await node.open({ onDamage: 'degrade' });
  t.is(node.engine.directoryId, renamed);
});

test('a directory with a bad block lacks nothing and keeps its id', async (t) => {
  const node = await crashedNode(4);
  const { directoryId } = node.engine;
  const batch = findBatches(node)[2]!;
  flipByte(node, batch.path, bytesAt(batch) + BLOCK_BYTES);
  await node.open({ onDamage: 'degrade' });
  t.is(node.engine.damage.length, 1);
  t.is(node.engine.directoryId, directoryId);
});

test('asked to degrade, a batch with a bad block is kept, and the block reads as it was stored', async (t) => {
  const node = await crashedNode(5);
  const batch = findBatches(node)[2]!;
  flipByte(node, batch.path, bytesAt(batch) + BLOCK_BYTES);
  await node.open({ onDamage: 'degrade' });
  t.is(node.engine.damage.length, 1);
  await expectContent(t, node, 5);
});

test('a batch forged in guest data is not replayed', async (t) => {
  const node = await crashedNode(5);
  const batches = findBatches(node);
  const last = batches.at(-1)!;
  const { current } = node.disk.contentOf(last.path);
  // The best a guest could know: a real batch, its place and number set to come next.
  const forged = Buffer.from(current.at(bytesAt(last), 2 * BLOCK_BYTES));
  forged.writeUInt32LE(last.position + 2, 28);
  forged.writeUInt32LE(last.batchSeq + 1, 32);
  forged.fill(0x5a, 8, 24);
  forged.writeUInt32LE(crc32(forged.subarray(4, forged.readUInt32LE(40)), 0x5a5a5a5a), 0);
  overwrite(node, last.path, bytesAt(last) + 2 * BLOCK_BYTES, forged);
  await goesOn(t, node, 5);
});

test('data that looks like batches, written by a guest and then torn away, stays data', async (t) => {
  const node = await crashedNode(3);
  const image = Buffer.from(
    node.disk.contentOf(segmentPaths(node)[0]!).current.at(0, SEGMENT_BYTES),
  );
  await node.open();
  const blocks = [1, 2, 3, 4, 5, 6].map((i) =>
    image.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES),
  );
  const request = {
    ...writeOf({ base: version(3), target: version(4), changes: [] }),
    extents: [{ startBlock: 0, blockCount: blocks.length, kind: 2 as const }],
    blockCrcs: Uint32Array.from(blocks, (block) => crc32(block)),
    payload: blocks,
  };
  void node.engine.write(request);
  await node.scheduler.steps(2);
  node.crash();
  await node.open();
  const { seq } = await node.versionOf(1, 0);
  t.true(seq === 3 || seq === 4);
});

test('every segment has a nonce of its own, which no other node would have', async (t) => {
  const nonces = new Set<string>();
  let segments = 0;
  for (const seed of [1, 2]) {
    const node = new SimulatedNode(new SeededRandom(seed), { limits: LAZY });
    await node.open();
    for (let seq = 1; seq <= 50; seq += 1) {
      await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
    }
    for (const path of segmentPaths(node)) {
      const header = decodeSegmentHeader(node.disk.contentOf(path).current.at(0, BLOCK_BYTES));
      nonces.add(header!.nonce.toString('hex'));
      segments += 1;
    }
  }
  t.is(nonces.size, segments);
});

test('what a file held in an earlier life never counts', async (t) => {
  const node = new SimulatedNode(new SeededRandom(5));
  await node.open();
  // Long enough for files to be used again several times.
  for (let seq = 1; seq <= 400; seq += 1)
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  t.true(node.engine.stats.segmentsFreed > 5);
  for (let round = 0; round < 5; round += 1) {
    node.crash();
    await node.open();
    await expectContent(t, node, 400);
  }
});

test('replay starts at the last checkpoint', async (t) => {
  const node = new SimulatedNode(new SeededRandom(3), { limits: LAZY });
  await node.open();
  for (let seq = 1; seq <= 20; seq += 1)
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  await node.run(node.engine.checkpoint());
  for (let seq = 21; seq <= 23; seq += 1)
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  node.crash();
  await node.open();
  t.is(node.engine.stats.replayedRecords, 3);
  await expectContent(t, node, 23);
});

test('a removed layer stays removed, whatever is replayed, and takes no more writes', async (t) => {
  const node = new SimulatedNode(new SeededRandom(3), { limits: LAZY });
  await node.open();
  for (let object = 0; object < 10; object += 1) {
    await node.run(node.engine.write(writeBlock(object, 1, 0, 1)));
    if (object === 5) await node.run(node.engine.checkpoint());
  }
  await node.run(node.engine.removeLayer(1));
  const check = async (): Promise<void> => {
    t.is((await node.run(node.engine.listVersions(1, 0, 100))).count, 0);
    t.deepEqual(await node.run(node.engine.listLayers()), []);
    t.deepEqual(await node.versionOf(1, 3), version(0));
    const error = await node.errorOf(node.engine.write(writeBlock(3, 1, 0, 1)));
    t.true(isDroverError(error, 'conflict'));
  };
  await check();
  node.crash();
  await node.open();
  await check();
  await node.run(node.engine.checkpoint());
  t.is((await node.run(node.engine.space())).liveBytes, 0);
  await check();
  node.crash();
  await node.open();
  await check();
});
