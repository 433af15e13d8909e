/**
 * A full node refuses what takes space, lets everything else go on, and recovers.
 */
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Engine } from '../../../store/engine/engine.ts';
import { openEngine } from '../../../store/engine/open-engine.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';
import { smallFilesystem } from '../../support/loop-device.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { contentRead, HOLE, version, writeBlock, writeOf } from './sample-blocks.ts';
import { SimulatedNode, SMALL_LIMITS } from './simulated-node.ts';

const SEGMENT_BYTES = SMALL_LIMITS.segmentBytes!;
const BLOCKS = 8;
const MIB = 1024 * 1024;

function wholeWrite(objectIndex: number, seq: number) {
  const changes = Array.from({ length: BLOCKS }, (_, block) => ({
    block,
    content: objectIndex * 1000 + seq,
  }));
  return writeOf({ objectIndex, base: version(seq - 1), target: version(seq), changes });
}

function trim(objectIndex: number, seq: number) {
  const changes = Array.from({ length: BLOCKS }, (_, block) => ({ block, content: HOLE }));
  return writeOf({ objectIndex, base: version(seq - 1), target: version(seq), changes });
}

type Run = <T>(promise: Promise<T>) => Promise<T>;

/** Writes new objects until one is refused; returns how many were not. */
async function fill(t: ExecutionContext, engine: Engine, run: Run): Promise<number> {
  for (let object = 0; ; object += 1) {
    try {
      await run(engine.write(wholeWrite(object, 1)));
    } catch (error) {
      t.true(isDroverError(error, 'outOfSpace'), String(error));
      return object;
    }
  }
}

async function expectObject(
  t: ExecutionContext,
  engine: Engine,
  run: Run,
  objectIndex: number,
  seq: number,
): Promise<void> {
  const into = Buffer.alloc(BLOCKS * BLOCK_BYTES);
  const request = { layerId: 1, objectIndex, expected: version(seq), startBlock: 0 };
  const { kinds, blockCrcs } = await run(engine.read({ ...request, blockCount: BLOCKS }, [into]));
  const wanted = new Array<number>(BLOCKS).fill(objectIndex * 1000 + seq);
  t.deepEqual(contentRead(kinds, blockCrcs, into), wanted);
}

async function fillAndRecover(t: ExecutionContext, engine: Engine, run: Run): Promise<number> {
  const objects = await fill(t, engine, run);
  t.true(objects >= 4);
  t.is(engine.state, 'open');
  for (let object = 0; object < objects; object += 1) await expectObject(t, engine, run, object, 1);
  const trimmed = Math.ceil(objects / 2);
  for (let object = 0; object < trimmed; object += 1) await run(engine.write(trim(object, 2)));
  for (let object = 0; object < trimmed / 2; object += 1) {
    await run(engine.write(wholeWrite(object, 3)));
    await expectObject(t, engine, run, object, 3);
  }
  for (let object = trimmed; object < objects; object += 1) {
    await expectObject(t, engine, run, object, 1);
  }
  return objects;
}

test('a node that reached its capacity refuses writes; reads and trims go on, then writes again', async (t) => {
  const node = new SimulatedNode(new SeededRandom(6), { capacityBytes: 16 * SEGMENT_BYTES });
  await node.open();
  await fillAndRecover(t, node.engine, (promise) => node.run(promise));
  t.true(node.disk.usedBytes <= 16 * SEGMENT_BYTES + 4096);
});

test('the same on a filesystem that is full', async (t) => {
  const node = new SimulatedNode(new SeededRandom(6));
  node.disk.capacityBytes = 16 * SEGMENT_BYTES + 4096;
  await node.open();
  await fillAndRecover(t, node.engine, (promise) => node.run(promise));
});

test('overwriting goes on for ever on a node that is nearly full', async (t) => {
  const node = new SimulatedNode(new SeededRandom(6), { capacityBytes: 16 * SEGMENT_BYTES });
  await node.open();
  const objects = await fill(t, node.engine, (promise) => node.run(promise));
  for (let seq = 2; seq <= 12; seq += 1) {
    await node.run(node.engine.write(trim(0, seq)));
    for (let object = 1; object < objects; object += 1) {
      await node.run(node.engine.write(wholeWrite(object, seq)));
    }
  }
  t.is(node.engine.state, 'open');
});

test('writes that wait for room do not take what cleaning needs to make it', async (t) => {
  const random = new SeededRandom(7);
  const node = new SimulatedNode(random, { capacityBytes: 16 * SEGMENT_BYTES });
  await node.open();
  const { engine } = node;
  const filled = await fill(t, engine, (promise) => node.run(promise));
  const objects = Math.floor(filled * 0.7);
  for (let object = objects; object < filled; object += 1) {
    await node.run(engine.write(trim(object, 2)));
  }
  const seqs = new Array<number>(objects).fill(1);
  for (let round = 0; round < 300; round += 1) {
    const writes = Array.from({ length: 60 }, () => {
      const object = random.below(objects);
      seqs[object]! += 1;
      return engine.write(writeBlock(object, seqs[object]!, random.below(BLOCKS), round + 1));
    });
    await node.run(Promise.all(writes));
  }
  t.is(engine.state, 'open');
});

test('overwriting what is far from filling the filesystem is never refused', async (t) => {
  // Worlds in which a spare was filled with the room that the log's own segment still needed, or
  // writes were refused that came while a round of cleaning ended.
  const worlds: [segments: number, seed: number][] = [
    [9.625, 605],
    [10, 400],
    [10, 700],
    [10.375, 503],
    [10.625, 1005],
    [10.75, 806],
  ];
  for (const [segments, seed] of worlds) {
    const node = new SimulatedNode(new SeededRandom(seed));
    node.disk.capacityBytes = segments * SEGMENT_BYTES;
    await node.open();
    const overwrite = async (objects: readonly number[]): Promise<void> => {
      for (let seq = 1; seq <= 60; seq += 1) {
        for (const object of objects) await node.engine.write(wholeWrite(object, seq));
      }
    };
    const writers = Promise.all([overwrite([0, 1]), overwrite([2, 3])]);
    await t.notThrowsAsync(node.run(writers), `${segments} segments of room, seed ${seed}`);
  }
});

test('space that others took from the filesystem is not promised, and is used when it comes back', async (t) => {
  const node = new SimulatedNode(new SeededRandom(6));
  node.disk.capacityBytes = 40 * SEGMENT_BYTES;
  await node.open();
  const run: Run = (promise) => node.run(promise);
  for (let object = 1000; object < 1008; object += 1) {
    await run(node.engine.write(wholeWrite(object, 1)));
  }
  // The filesystem fills up behind the node's back, between two looks at it.
  node.disk.capacityBytes = node.disk.usedBytes;
  const objects = await fill(t, node.engine, run);
  t.is(node.engine.state, 'open');
  for (let object = 0; object < objects; object += 1) {
    await expectObject(t, node.engine, run, object, 1);
  }
  await run(node.engine.write(trim(1000, 2)));
  await expectObject(t, node.engine, run, 1001, 1);
  node.disk.capacityBytes = 40 * SEGMENT_BYTES;
  await node.scheduler.steps(200);
  await run(node.engine.write(wholeWrite(objects, 1)));
  node.crash();
  await node.open();
  await expectObject(t, node.engine, run, objects, 1);
});

test('a batch that the filesystem had no room for is refused whole and never found again', async (t) => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const node = new SimulatedNode(new SeededRandom(seed));
    await node.open();
    const run: Run = (promise) => node.run(promise);
    await run(node.engine.write(wholeWrite(0, 1)));
    node.disk.writeErrorCode = 'ENOSPC';
    node.disk.writesUntilError = 1;
    const refused = await node.errorOf(node.engine.write(wholeWrite(0, 2)));
    node.disk.writesUntilError = Number.POSITIVE_INFINITY;
    t.true(isDroverError(refused, 'outOfSpace'));
    t.is(node.engine.state, 'open');
    await run(node.engine.adoptEpoch(9, 9));
    await expectObject(t, node.engine, run, 0, 1);
    node.crash();
    await node.open();
    await expectObject(t, node.engine, run, 0, 1);
  }
});

test('an index without room delays checkpoints but loses nothing', async (t) => {
  const node = new SimulatedNode(new SeededRandom(6));
  await node.open();
  const run: Run = (promise) => node.run(promise);
  for (let object = 0; object < 5; object += 1) await run(node.engine.write(wholeWrite(object, 1)));
  node.index.failCommits = 3;
  await node.errorOf(node.engine.checkpoint());
  await run(node.engine.write(wholeWrite(5, 1)));
  node.index.failCommits = 0;
  await run(node.engine.checkpoint());
  node.crash();
  await node.open();
  for (let object = 0; object <= 5; object += 1) await expectObject(t, node.engine, run, object, 1);
});

test('a real filesystem of 96 MiB that fills up', async (t) => {
  const folder = await temporaryFolder(t);
  const mount = await smallFilesystem(t, join(folder, 'image'), join(folder, 'mnt'), 96 * MIB);
  const open = (): Promise<Engine> =>
    openEngine({
      directory: join(mount.folder, 'node'),
      disk: realDisk,
      clock: systemClock,
      random: systemRandom,
      limits: { segmentBytes: 4 * MIB, indexSpaceBytes: 16 * MIB, tickMs: 50 },
    });
  let engine = await open();
  const run: Run = (promise) => promise;
  const objects = await fillAndRecover(t, engine, run);
  t.true(objects > 100);
  await engine.close();
  engine = await open();
  await expectObject(t, engine, run, objects - 1, 1);
  await expectObject(t, engine, run, 0, 3);
  await engine.close();
});
