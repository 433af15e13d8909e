/**
 * A store node of a real cluster fails in every way, one after another, while clients write and
 * read; afterwards no block is wrong, no I/O stalled for too long, and all copies are identical.
 */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { smallFilesystem } from '../support/loop-device.ts';
import { randomForTest } from '../support/seeded-random.ts';
import { stampedBytes } from '../support/stamped-disk-model.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { eventually } from '../support/time-limit.ts';
import { ClusterScene, REFUSAL_LIMIT_MS, SILENCE_LIMIT_MS } from './cluster-scene.ts';
import { metricOf } from './gateway-process.ts';
import type { StoreProcess } from './store-process.ts';

const STALL_MARGIN_MS = 2_000;
const LOAD_MS = 1_000;
const MIB = 1024 * 1024;
/** More than the small filesystem takes. */
const BIG_MIB = 480;

async function clusterFor(t: ExecutionContext, hasRoads = false): Promise<ClusterScene> {
  t.timeout(280_000);
  const volumes = ['disk0=64M', 'probe=1M'];
  const scene = await ClusterScene.start(t, randomForTest(t), { volumes, hasRoads });
  await scene.attach();
  return scene;
}

/** Does `trouble` in the middle of a load, and judges what came of it. */
async function underLoad(
  t: ExecutionContext,
  scene: ClusterScene,
  limitMs: number,
  trouble: () => Promise<void>,
): Promise<void> {
  const stallMs = await scene.longestStallMs(async () => {
    const writer = scene.load();
    await sleep(LOAD_MS);
    await trouble();
    await sleep(LOAD_MS);
    await writer.stop();
  });
  t.log(`longest stall ${Math.round(stallMs)} ms`);
  t.true(stallMs < limitMs + STALL_MARGIN_MS, `I/O stalled for ${stallMs} ms`);
  await scene.identical();
  await scene.readAll();
}

/** The payload that a node was sent to become whole again, in MiB. */
async function resyncedMib(scene: ClusterScene, store: StoreProcess): Promise<number> {
  const labels = `volume="disk0",node="${store.id}"`;
  return (await metricOf(scene.gateway.httpUrl, 'drover_resync_bytes_total', labels)) / MIB;
}

test.serial('each node is killed and started again, in turn', async (t) => {
  const scene = await clusterFor(t);
  for (const store of scene.stores) {
    await underLoad(t, scene, REFUSAL_LIMIT_MS, async () => {
      await store.kill();
      await scene.inSync(2);
      await sleep(LOAD_MS);
      await store.startAgain();
    });
  }
});

test.serial('a node is frozen for longer than the limit, and goes on', async (t) => {
  const scene = await clusterFor(t);
  const store = scene.stores[1]!;
  await underLoad(t, scene, SILENCE_LIMIT_MS, async () => {
    store.freeze();
    await scene.inSync(2);
    await sleep(2_000);
    store.thaw();
  });
});

test.serial('the network of a node is cut and restored', async (t) => {
  const scene = await clusterFor(t, true);
  const store = scene.stores[2]!;
  await underLoad(t, scene, SILENCE_LIMIT_MS, async () => {
    store.road.cut();
    await scene.inSync(2);
    await sleep(LOAD_MS);
    store.road.restore();
  });
});

test.serial('a node comes back without its data, and one with an old copy of it', async (t) => {
  const scene = await clusterFor(t);
  const [first, second] = scene.stores as [StoreProcess, StoreProcess];
  await underLoad(t, scene, REFUSAL_LIMIT_MS, async () => {
    await first.kill();
    await first.wipe();
    await first.startAgain();
  });
  const old = join(scene.folder, 'old');
  await second.stop();
  await second.keepCopy(old);
  await second.startAgain();
  await underLoad(t, scene, REFUSAL_LIMIT_MS, async () => {
    await second.kill();
    await second.putCopyBack(old);
    await second.startAgain();
  });
});

test.serial('a returning node receives what it missed, and no more', async (t) => {
  const scene = await clusterFor(t);
  const store = scene.stores[0]!;
  const writer = scene.load();
  await sleep(3_000);
  await writer.stop();
  await scene.identical();
  const before = await resyncedMib(scene, store);
  await store.kill();
  await scene.clients[0]!.flush();
  await scene.inSync(2);
  // One block in each of 16 objects: 64 KiB, of the 64 MiB that the objects are.
  for (let object = 0; object < 16; object++) {
    const operation = scene.model.submitWrite(object * 1024, 1);
    const bytes = stampedBytes(object * 1024, 1, operation.stamp);
    await scene.clients[0]!.write(object * 4 * MIB, bytes);
    scene.model.answered(operation, false);
  }
  await scene.clients[0]!.flush();
  await store.startAgain();
  await scene.identical();
  const missedMib = (await resyncedMib(scene, store)) - before;
  t.log(`${missedMib} MiB were sent for 0.0625 MiB missed`);
  t.true(missedMib > 0 && missedMib <= 0.5);
  await scene.readAll();
});

test.serial('a flipped byte of a segment is found, and no read shows it', async (t) => {
  const scene = await clusterFor(t);
  const writer = scene.load();
  await sleep(3_000);
  await writer.stop();
  await scene.clients[0]!.flush();
  await scene.identical();
  const store = scene.stores[1]!;
  t.true((await flipStampedBytes(store, 64)) > 0);
  const damaged = await scene.gateway.verify();
  t.true(damaged.differenceCount > 0);
  t.true(damaged.differences.every(({ nodeId }) => nodeId === store.id));
  // Read past the cache, again and again, until every copy was asked.
  await scene.gateway.stop();
  scene.gateway = await scene.startGateway('gateway1');
  await scene.attach();
  await scene.readAll();
  t.log(`${await scene.gateway.metric('drover_block_repairs_total')} blocks were repaired`);
});

test.serial(
  'a disk that fills up takes its copy out, and brings it back when there is room',
  async (t) => {
    t.timeout(280_000);
    const folder = await temporaryFolder(t);
    const small = await smallFilesystem(t, join(folder, 'image'), join(folder, 'm'), 448 * MIB);
    const scene = await ClusterScene.start(t, randomForTest(t), {
      volumes: ['disk0=64M', 'probe=1M', 'big=1G'],
      storeDirectories: [undefined, undefined, join(small.folder, 'data')],
    });
    await scene.attach();
    const big = await scene.gateway.attach('big');
    await underLoad(t, scene, SILENCE_LIMIT_MS, async () => {
      for (let at = 0; at < BIG_MIB; at += 8) {
        await big.write(at * MIB, Buffer.alloc(8 * MIB, 1 + (at % 250)));
        await big.flush();
      }
      await eventually('the full copy is out', 60_000, async () => {
        return (await scene.gateway.volume('big')).inSyncCopies === 2;
      });
      for (let at = 0; at < BIG_MIB; at += 40) {
        t.is((await big.read(at * MIB, 1))[0], 1 + (at % 250));
      }
      await big.trim(0, BIG_MIB * MIB);
      await big.flush();
      await scene.inSync(3, 120_000);
    });
    await eventually('all copies are back', 120_000, async () => {
      return (await scene.gateway.volume('big')).inSyncCopies === 3;
    });
    t.is((await scene.gateway.verify('big')).differenceCount, 0);
    await big.disconnect();
  },
);

/** Flips a byte in every so many blocks of the node's segments that hold a stamp. */
async function flipStampedBytes(store: StoreProcess, every: number): Promise<number> {
  const folder = join(store.dataDirectory, 'node', 'segments');
  let seen = 0;
  let flipped = 0;
  // Spare files come and go in the background, and nothing is read from them.
  const segments = (await readdir(folder)).filter((name) => name.endsWith('.seg'));
  for (const name of segments) {
    const file = await open(join(folder, name), 'r+');
    const block = Buffer.alloc(4096);
    for (let at = 0; (await file.read(block, 0, 4096, at)).bytesRead === 4096; at += 4096) {
      const isStamped = block.compare(block, 0, 4080, 16, 4096) === 0 && block.readUInt32LE(8) > 0;
      if (!isStamped) continue;
      seen += 1;
      if (seen % every !== 0) continue;
      await file.write(Buffer.from([block[100]! ^ 1]), 0, 1, at + 100);
      flipped += 1;
    }
    await file.close();
  }
  return flipped;
}
