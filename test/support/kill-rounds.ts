/**
 * The kill test: load, SIGKILL at a random moment, restart, verify, on the same data again and
 * again, with a clean stop now and then.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrashScene } from './crash-scene.ts';
import { smallFilesystem } from './loop-device.ts';
import { randomForTest, type SeededRandom } from './seeded-random.ts';
import { USUAL_MIX } from './stamping-writer.ts';
import { type TestScope, temporaryFolder } from './temp-folder.ts';

const ROUNDS_PER_CLEAN_STOP = 10;

export interface LoadCounts {
  write: number;
  zero: number;
  read: number;
  flush: number;
}

async function killOnce(scene: CrashScene, random: SeededRandom): Promise<LoadCounts> {
  const writer = scene.load(USUAL_MIX);
  await sleep(random.between(20, 500));
  await scene.kill();
  await writer.ended();
  scene.crashed();
  if (random.chance(0.15)) await scene.killDuringStart();
  await scene.start();
  await scene.verify();
  // Once read, nothing changes.
  await scene.verify();
  return writer.counts;
}

/** Nothing that was answered may be missing after a clean stop, flushed or not. */
async function stopCleanlyOnce(scene: CrashScene, random: SeededRandom): Promise<void> {
  const writer = scene.load(USUAL_MIX);
  await sleep(random.between(20, 200));
  if (random.chance(0.5)) {
    await scene.stopUnderLoad(writer);
  } else {
    await writer.stop();
    await scene.stop();
  }
  await scene.start();
  await scene.verify();
}

export interface KillOptions {
  readonly rounds: number;
  /** A filesystem of its own for the data, so small that segments are cleaned all the time. */
  readonly filesystemMiB?: number;
}

export async function killRounds(t: TestScope, options: KillOptions): Promise<LoadCounts> {
  const { rounds, filesystemMiB } = options;
  const random = randomForTest(t);
  const scene = await CrashScene.prepare(t, random);
  if (filesystemMiB !== undefined) {
    const folder = await temporaryFolder(t);
    const sizeBytes = filesystemMiB * 1024 * 1024;
    const disk = await smallFilesystem(t, join(folder, 'image'), join(folder, 'm'), sizeBytes);
    scene.dataDirectory = join(disk.folder, 'data');
  }
  const total: LoadCounts = { write: 0, zero: 0, read: 0, flush: 0 };
  await scene.start();
  for (let round = 1; round <= rounds; round++) {
    const counts = await killOnce(scene, random);
    for (const kind of ['write', 'zero', 'read', 'flush'] as const) total[kind] += counts[kind];
    if (round % ROUNDS_PER_CLEAN_STOP === 0) await stopCleanlyOnce(scene, random);
  }
  await scene.stop();
  t.log(`${JSON.stringify(total)}; ${scene.missingBlocks} unflushed blocks were lost`);
  return total;
}
