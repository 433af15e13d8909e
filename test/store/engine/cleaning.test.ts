/**
 * Space comes back, and nothing is lost on the way.
 */
import test, { type ExecutionContext } from 'ava';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { findBatches, flipByte } from './damage.ts';
import { HOLE, version, writeBlock, writeOf } from './sample-blocks.ts';
import { SimulatedNode, SMALL_LIMITS } from './simulated-node.ts';

/** Nothing is cleaned or stored but when a test says so. */
const QUIET = {
  ...SMALL_LIMITS,
  tickMs: 2 ** 40,
  checkpointLogBytes: 2 ** 40,
  relaxedSegmentsMin: 2 ** 40,
};

/** Twenty objects of one block; every second one is written again until the old segments are dead. */
async function mixedNode(): Promise<SimulatedNode> {
  const node = new SimulatedNode(new SeededRandom(4), { limits: QUIET });
  await node.open();
  for (let object = 0; object < 20; object += 1) {
    await node.run(node.engine.write(writeBlock(object, 1, 0, 100 + object)));
  }
  for (let seq = 2; seq <= 4; seq += 1) {
    for (let object = 0; object < 20; object += 2) {
      await node.run(node.engine.write(writeBlock(object, seq, 0, seq * 100 + object)));
    }
  }
  await node.run(node.engine.checkpoint());
  return node;
}

async function expectMixed(t: ExecutionContext, node: SimulatedNode): Promise<void> {
  for (let object = 0; object < 20; object += 1) {
    const seq = object % 2 === 0 ? 4 : 1;
    t.deepEqual(await node.contentOf(1, object, version(seq), 1), [seq * 100 + object]);
  }
}

test('cleaning moves live blocks, frees their segments and changes no version', async (t) => {
  const node = await mixedNode();
  const before = node.engine.gauges().segmentsUsed;
  while (await node.run(node.engine.cleanOne())) await node.run(node.engine.checkpoint());
  t.true(node.engine.gauges().segmentsUsed < before);
  t.true(node.engine.stats.cleaningBytes > 0);
  await expectMixed(t, node);
  node.crash();
  await node.open();
  await expectMixed(t, node);
});

test('a segment without live blocks is freed without moving anything', async (t) => {
  const node = new SimulatedNode(new SeededRandom(4), { limits: QUIET });
  await node.open();
  for (let seq = 1; seq <= 60; seq += 1)
    await node.run(node.engine.write(writeBlock(0, seq, 0, seq)));
  t.is(node.engine.gauges().segmentsUsed, 4);
  await node.run(node.engine.clean());
  t.is(node.engine.gauges().segmentsUsed, 4, 'replay still needs them');
  await node.run(node.engine.checkpoint());
  await node.run(node.engine.clean());
  t.is(node.engine.gauges().segmentsUsed, 1);
  t.is(node.engine.stats.cleaningBytes, 0);
});

test('while most of the space is free, segments with some live blocks are left to die', async (t) => {
  const movedBytes = async (ampleFreeRatio: number) => {
    const limits = { ...QUIET, relaxedSegmentsMin: 2, ampleFreeRatio };
    const node = new SimulatedNode(new SeededRandom(4), { limits });
    await node.open();
    const write = (objectIndex: number, seq: number) => {
      const changes = Array.from({ length: 8 }, (_, block) => ({ block, content: seq }));
      const request = { objectIndex, base: version(seq - 1), target: version(seq), changes };
      return node.run(node.engine.write(writeOf(request)));
    };
    // Three objects in each segment, of which then one is still live: 26 %.
    for (let object = 0; object < 6; object += 1) await write(object, 1);
    for (const object of [0, 1, 3, 4]) await write(object, 2);
    await node.run(node.engine.checkpoint());
    await node.run(node.engine.clean());
    return node.engine.stats.cleaningBytes;
  };
  t.is(await movedBytes(0), 0);
  t.true((await movedBytes(1)) > 0);
});

test('a segment is not freed while a read uses it', async (t) => {
  const node = await mixedNode();
  const into = Buffer.alloc(BLOCK_BYTES);
  // In the segment with the fewest live blocks, which is cleaned first.
  const request = { layerId: 1, objectIndex: 19, startBlock: 0, blockCount: 1 };
  node.disk.holdNextRead();
  const reading = node.engine.read({ ...request, expected: version(1) }, [into]);
  while (!node.disk.holdsRead) await node.scheduler.step();
  const cleaning = node.engine.cleanOne();
  await node.scheduler.steps(500);
  t.true(node.engine.stats.cleaningBytes > 0);
  t.is(node.engine.stats.segmentsFreed, 0);
  node.disk.releaseRead();
  await node.run(reading);
  t.is(into.readUInt32LE(0), 119);
  await node.run(cleaning);
  t.is(node.engine.stats.segmentsFreed, 1);
});

test('writes go on while everything is cleaned, and none is lost', async (t) => {
  const node = await mixedNode();
  let isCleaning = true;
  const cleaning = (async () => {
    while (await node.engine.cleanOne()) await node.engine.checkpoint();
    isCleaning = false;
  })();
  let seq = 1;
  while (isCleaning && seq < 200) {
    seq += 1;
    await node.run(node.engine.write(writeBlock(1, seq, 0, seq)));
  }
  await node.run(cleaning);
  t.true(seq > 2);
  t.deepEqual(await node.contentOf(1, 1, version(seq), 1), [seq]);
  node.crash();
  await node.open();
  t.deepEqual(await node.contentOf(1, 1, version(seq), 1), [seq]);
  t.deepEqual(await node.contentOf(1, 3, version(1), 1), [103]);
});

test('a block that does not match its checksum is not moved but reported, and goes when repaired', async (t) => {
  const bad: unknown[] = [];
  const node = await mixedNode();
  const victim = findBatches(node)[1]!;
  flipByte(node, victim.path, (victim.position + victim.headerBlocks) * BLOCK_BYTES + 7);
  node.crash();
  await node.open({ onBadBlock: (block) => bad.push(block) });
  await node.run(node.engine.cleanOne());
  while (await node.run(node.engine.cleanOne())) await node.run(node.engine.checkpoint());
  t.deepEqual(bad[0], { layerId: 1, objectIndex: 1, block: 0 });
  t.is(node.engine.gauges().damagedSegments, 1);
  t.deepEqual(await node.contentOf(1, 1, version(1), 1), [Number.NaN]);

  const { blockCrcs, payload } = writeBlock(1, 1, 0, 101);
  const key = { layerId: 1, objectIndex: 1, volumeId: 1, epoch: 1 };
  await node.run(
    node.engine.repair({ ...key, version: version(1), startBlock: 0, blockCrcs, payload }),
  );
  await expectMixed(t, node);
  await node.run(node.engine.checkpoint());
  await node.run(node.engine.clean());
  t.is(node.engine.gauges().damagedSegments, 0);
});

test('a scrub finds a flipped byte, and nothing else', async (t) => {
  const bad: unknown[] = [];
  const node = await mixedNode();
  node.crash();
  await node.open({ onBadBlock: (block) => bad.push(block) });
  t.deepEqual(await node.run(node.engine.scrubOnce()), { bytes: 20 * BLOCK_BYTES, badBlocks: 0 });
  const victim = findBatches(node)[3]!;
  flipByte(node, victim.path, (victim.position + victim.headerBlocks) * BLOCK_BYTES + 7);
  t.is((await node.run(node.engine.scrubOnce())).badBlocks, 1);
  t.deepEqual(bad, [{ layerId: 1, objectIndex: 3, block: 0 }]);
  t.is(node.engine.stats.scrubErrors, 1);
});

test('trimmed blocks give their space back', async (t) => {
  const node = await mixedNode();
  const before = (await node.run(node.engine.space())).liveBytes;
  const trim = writeOf({
    objectIndex: 1,
    base: version(1),
    target: version(2),
    changes: [{ block: 0, content: HOLE }],
  });
  await node.run(node.engine.write(trim));
  t.is((await node.run(node.engine.space())).liveBytes, before - BLOCK_BYTES);
  t.deepEqual(await node.contentOf(1, 1, version(2), 1), [HOLE]);
});

test('the objects of a removed layer give their space back, also those that are on disk only', async (t) => {
  const node = await mixedNode();
  await node.run(node.engine.removeLayer(1));
  await node.run(node.engine.checkpoint());
  await node.run(node.engine.clean());
  const space = await node.run(node.engine.space());
  t.is(space.liveBytes, 0);
  t.is(space.objectCount, 0);
  t.is(node.engine.gauges().segmentsUsed, 1);
});

test('cleaning stops when the node is closed', async (t) => {
  const node = await mixedNode();
  const cleaning = node.engine.cleanOne();
  await node.run(node.engine.close());
  await node.run(cleaning.catch((error: unknown) => t.true(isDroverError(error, 'unavailable'))));
  await node.open();
  await expectMixed(t, node);
});
