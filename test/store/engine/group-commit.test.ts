/**
 * One synced write for many records; nothing acknowledged that is not durable.
 */
import test from 'ava';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { findBatches } from './damage.ts';
import { version, writeBlock, writeOf } from './sample-blocks.ts';
import { SimulatedNode } from './simulated-node.ts';

async function newNode(): Promise<SimulatedNode> {
  const node = new SimulatedNode(new SeededRandom(2));
  await node.open();
  // The segment in use is there.
  await node.run(node.engine.write(writeBlock(1000, 1, 0, 1)));
  return node;
}

test('writes of one turn share one sync', async (t) => {
  const node = await newNode();
  const { batches } = node.engine.stats;
  const writes = Array.from({ length: 8 }, (_, i) => node.engine.write(writeBlock(i, 1, 0, i + 1)));
  await node.run(Promise.all(writes));
  t.is(node.engine.stats.batches, batches + 1);
});

test('writes that arrive during a sync share the next one', async (t) => {
  const node = await newNode();
  const { batches } = node.engine.stats;
  const first = node.engine.write(writeBlock(0, 1, 0, 1));
  await node.scheduler.settle();
  t.is(node.disk.contentOf('/node/segments/00000001.seg').inFlight.size, 1);
  const later = Array.from({ length: 8 }, (_, i) => node.engine.write(writeBlock(i + 1, 1, 0, i)));
  await node.run(Promise.all([first, ...later]));
  t.is(node.engine.stats.batches, batches + 2);
});

test('a batch takes no more than its limits, and one record of any size', async (t) => {
  const node = await newNode();
  const big = Array.from({ length: 14 }, (_, i) => ({ block: i, content: i + 1 }));
  await node.run(
    Promise.all([
      node.engine.write(
        writeOf({ objectIndex: 0, base: version(0), target: version(1), changes: big }),
      ),
      ...Array.from({ length: 12 }, (_, i) => node.engine.write(writeBlock(i + 1, 1, 0, i + 1))),
    ]),
  );
  const sizes = findBatches(node).map(({ payloadBlocks }) => payloadBlocks);
  t.deepEqual(sizes, [1, 14, 8, 4]);
});

test('an acknowledged write survives a power cut at once', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 3, 77)));
  node.crash();
  await node.open();
  t.deepEqual(await node.contentOf(1, 0, version(1), 4), [0, 0, 0, 77]);
});

test('batches are numbered without a gap, and each begins at a block', async (t) => {
  const node = await newNode();
  for (let seq = 1; seq <= 12; seq += 1)
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  const numbers = findBatches(node).map(({ batchSeq }) => batchSeq);
  t.deepEqual(
    numbers,
    Array.from({ length: 13 }, (_, i) => i + 1),
  );
});

test('an error of the disk stops acknowledging for good, and reads go on', async (t) => {
  const node = await newNode();
  node.disk.writesUntilError = 1;
  const writes = [0, 1].map((object) => node.engine.write(writeBlock(object, 1, 0, 9)));
  const results = await node.run(Promise.allSettled(writes));
  for (const result of results) {
    t.true(result.status === 'rejected' && isDroverError(result.reason, 'unavailable'));
  }
  node.disk.writesUntilError = Number.POSITIVE_INFINITY;
  t.is(node.engine.state, 'failed');
  const later = await node.errorOf(node.engine.write(writeBlock(5, 1, 0, 9)));
  t.true(isDroverError(later, 'unavailable'));
  t.deepEqual(await node.contentOf(1, 1000, version(1), 1), [1]);
  await node.run(node.engine.close());
  await node.open();
  t.deepEqual(await node.contentOf(1, 1000, version(1), 1), [1]);
});

test('a write that met an error of the disk is there whole or not at all after opening again', async (t) => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const node = new SimulatedNode(new SeededRandom(seed));
    await node.open();
    await node.run(node.engine.write(writeBlock(0, 1, 0, 1)));
    node.disk.writesUntilError = 1;
    await node.errorOf(node.engine.write(writeBlock(0, 2, 0, 2)));
    node.disk.writesUntilError = Number.POSITIVE_INFINITY;
    node.crash();
    await node.open();
    const found = await node.versionOf(1, 0);
    t.true(found.seq === 1 || found.seq === 2);
    t.deepEqual(await node.contentOf(1, 0, found, 1), [found.seq]);
  }
});

test('payload is written from the buffers it came in', async (t) => {
  const node = await newNode();
  const request = writeBlock(0, 1, 0, 5);
  const [block] = request.payload;
  const two = { ...writeBlock(1, 1, 0, 6), payload: [block!], blockCrcs: request.blockCrcs };
  await node.run(Promise.all([node.engine.write(request), node.engine.write(two)]));
  t.deepEqual(await node.contentOf(1, 1, version(1), 1), [5]);
  t.is(block!.length, BLOCK_BYTES);
});

test('a node that is closed takes nothing, and closing again does nothing', async (t) => {
  const node = await newNode();
  const last = node.engine.write(writeBlock(0, 1, 0, 5));
  await node.run(node.engine.close());
  await node.run(last);
  t.true(
    isDroverError(await node.errorOf(node.engine.write(writeBlock(0, 2, 0, 6))), 'unavailable'),
  );
  await node.run(node.engine.close());
  await node.open();
  t.is(node.engine.stats.replayedRecords, 0);
  t.deepEqual(await node.contentOf(1, 0, version(1), 1), [5]);
});
