/**
 * The power of the disk is cut while the server writes: whatever the server did not sync is gone,
 * as with a real disk's volatile cache. (SIGKILL alone loses nothing of the kernel's page cache.)
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { CrashScene } from '../support/crash-scene.ts';
import { VolatileDisk } from '../support/faulty-disks.ts';
import { randomForTest } from '../support/seeded-random.ts';
import { USUAL_MIX } from '../support/stamping-writer.ts';

const ROUNDS = 6;
const DISK_MIB = 2048;

test.serial(
  'after each power cut every block holds its flushed value or a later one',
  async (t) => {
    t.timeout(600_000);
    const random = randomForTest(t);
    const disk = await VolatileDisk.make(t, DISK_MIB);
    const scene = await CrashScene.prepare(t, random);
    scene.dataDirectory = join(await disk.powerOn(), 'data');
    let flushes = 0;
    await scene.start();
    for (let round = 1; round <= ROUNDS; round++) {
      const writer = scene.load({ ...USUAL_MIX, errorsAllowed: true });
      await sleep(random.between(100, 1000));
      await disk.cutPower();
      // The server lives on for a moment with a disk that is gone; it must acknowledge nothing then.
      await sleep(random.between(0, 200));
      await scene.kill();
      await writer.ended();
      scene.crashed();
      flushes += writer.counts.flush;
      scene.dataDirectory = join(await disk.powerOn(), 'data');
      await scene.start();
      await scene.verify();
      await scene.verify();
    }
    await scene.stop();
    t.log(`${flushes} flushes, ${scene.missingBlocks} unflushed blocks were lost`);
    t.true(flushes > ROUNDS, 'too few flushes were answered to show anything');
  },
);
