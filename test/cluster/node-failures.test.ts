/**
 * A store node of a real cluster fails in every way, one after another, while clients write and
 * read: a model that knows every block, and fio with its own checksums. Afterwards no block is
 * wrong, no I/O stalled for too long, all copies are identical, and the node was sent what it had
 * missed and nothing else.
 */
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { smallFilesystem } from '../support/loop-device.ts';
import { randomForTest } from '../support/seeded-random.ts';
import { stampedBytes } from '../support/stamped-disk-model.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { eventually } from '../support/time-limit.ts';
import {
  ClusterScene,
  REFUSAL_LIMIT_MS,
  type SceneOptions,
  SILENCE_LIMIT_MS,
} from './cluster-scene.ts';
import { FIO_VOLUME } from './fio-load.ts';
import type { StoreProcess } from './store-process.ts';

const STALL_MARGIN_MS = 2_000;
const LOAD_MS = 1_000;
const MIB = 1024 * 1024;
/** What a frozen node sleeps, far beyond the limit. */
const FROZEN_MS = 20_000;
/** More than the small filesystem takes. */
const BIG_MIB = 480;

const VOLUMES = ['disk0=64M', 'probe=1M', FIO_VOLUME];
const VOLUMES_MIB = 64 + 1 + 8;

async function clusterFor(
  t: ExecutionContext,
  options: Omit<SceneOptions, 'volumes'> = {},
): Promise<ClusterScene> {
  t.timeout(280_000);
  const scene = await ClusterScene.start(t, randomForTest(t), { volumes: VOLUMES, ...options });
  await scene.attach();
  return scene;
}

interface Trouble {
  /** Without an answer for so long, a node is taken out. */
  readonly limitMs: number;
  readonly node: StoreProcess;
  /** The node comes back with less than it had. */
  readonly losesData?: boolean;
  make(): Promise<void>;
}

/** Makes trouble in the middle of a load, and judges what came of it. */
async function underLoad(t: ExecutionContext, scene: ClusterScene, trouble: Trouble) {
  const { limitMs, node } = trouble;
  const fio = scene.fio();
  const resyncedBefore = await resyncedMib(scene, node);
  const writtenBefore = await writtenMib(scene);
  const { volumeMs, machineMs } = await scene.longestStalls(async () => {
    const writer = scene.load();
    await sleep(LOAD_MS);
    await trouble.make();
    await sleep(LOAD_MS);
    await Promise.all([writer.stop(), fio.stop()]);
  });
  await scene.identical();
  await scene.readAll();
  await fio.verify();
  const resynced = (await resyncedMib(scene, node)) - resyncedBefore;
  const written = (await writtenMib(scene)) - writtenBefore;
  t.log(
    `longest stall ${Math.round(volumeMs)} ms, of the machine ${Math.round(machineMs)} ms; ` +
      `${node.id} was sent ${resynced.toFixed(2)} MiB, ${written.toFixed(2)} MiB were written`,
  );
  t.true(volumeMs < limitMs + STALL_MARGIN_MS + machineMs, `I/O stalled for ${volumeMs} ms`);
  t.true(resynced <= (trouble.losesData === true ? VOLUMES_MIB : written), `${resynced} MiB`);
}

/** The payload that a node was sent to become whole again, in MiB. */
async function resyncedMib(scene: ClusterScene, store: StoreProcess): Promise<number> {
  const labels = `node="${store.id}"`;
  return (await scene.gateway.metric('drover_resync_bytes_total', labels)) / MIB;
}

/** What the gateway has sent to every copy, in MiB. */
async function writtenMib(scene: ClusterScene): Promise<number> {
  return (await scene.gateway.metric('drover_cache_written_bytes_total')) / MIB;
}

test.serial('each node is killed and started again, in turn', async (t) => {
  const scene = await clusterFor(t);
  for (const node of scene.stores) {
    await underLoad(t, scene, {
      ...{ node, limitMs: REFUSAL_LIMIT_MS },
      make: async () => {
        await node.kill();
        await scene.inSync(2);
        await sleep(LOAD_MS);
        await node.startAgain();
      },
    });
  }
});

test.serial('a node is frozen for longer than the limit, and goes on', async (t) => {
  const scene = await clusterFor(t);
  const node = scene.stores[1]!;
  await underLoad(t, scene, {
    ...{ node, limitMs: SILENCE_LIMIT_MS },
    make: async () => {
      const isOver = sleep(FROZEN_MS);
      await node.freeze();
      await scene.inSync(2);
      await isOver;
      node.thaw();
    },
  });
});

test.serial('a node behind a relay is cut off, and killed', async (t) => {
  const scene = await clusterFor(t, { hasRoads: true });
  const node = scene.stores[2]!;
  const limitMs = REFUSAL_LIMIT_MS;
  await underLoad(t, scene, {
    ...{ node, limitMs },
    make: async () => {
      node.road.cut();
      await scene.inSync(2);
      await sleep(LOAD_MS);
      node.road.restore();
    },
  });
  // The relay goes on accepting connections, and ends each when it finds nobody behind.
  await underLoad(t, scene, {
    ...{ node, limitMs },
    make: async () => {
      await node.kill();
      await scene.inSync(2);
      await node.startAgain();
    },
  });
});

test.serial('the cable of a node is pulled out, and plugged in again', async (t) => {
  const scene = await clusterFor(t, { hasCable: true });
  await underLoad(t, scene, {
    ...{ node: scene.stores[2]!, limitMs: SILENCE_LIMIT_MS },
    make: async () => {
      await scene.cable.pullOut();
      await scene.inSync(2);
      await sleep(LOAD_MS);
      await scene.cable.plugIn();
    },
  });
});

test.serial('a node comes back without its data, and one with an old copy of it', async (t) => {
  const scene = await clusterFor(t);
  const [first, second] = scene.stores as [StoreProcess, StoreProcess];
  await underLoad(t, scene, {
    ...{ node: first, limitMs: REFUSAL_LIMIT_MS, losesData: true },
    make: async () => {
      await first.kill();
      await first.wipe();
      await first.startAgain();
    },
  });
  const old = join(scene.folder, 'old');
  await second.stop();
  await second.keepCopy(old);
  await second.startAgain();
  // What it is sent for this absence is not what it is sent for the next.
  await scene.inSync(3);
  await underLoad(t, scene, {
    ...{ node: second, limitMs: REFUSAL_LIMIT_MS, losesData: true },
    make: async () => {
      await second.kill();
      await second.putCopyBack(old);
      await second.startAgain();
    },
  });
});

/** One block in each of 16 objects: 64 KiB, of the 64 MiB that the objects are. */
async function writeLittle(scene: ClusterScene): Promise<void> {
  for (let object = 0; object < 16; object++) {
    const operation = scene.model.submitWrite(object * 1024, 1);
    const bytes = stampedBytes(object * 1024, 1, operation.stamp);
    await scene.clients[0]!.write(object * 4 * MIB, bytes);
    scene.model.answered(operation, false);
  }
  await scene.clients[0]!.flush();
}

test.serial('a returning node receives what it missed, and no more', async (t) => {
  const scene = await clusterFor(t, { hasCable: true });
  const [first, second, third] = scene.stores as [StoreProcess, StoreProcess, StoreProcess];
  const writer = scene.load();
  await sleep(3_000);
  await writer.stop();
  await scene.identical();
  const absences = [
    { node: first, leave: () => first.kill(), comeBack: () => first.startAgain() },
    { node: second, leave: () => second.freeze(), comeBack: () => second.thaw() },
    { node: third, leave: () => scene.cable.pullOut(), comeBack: () => scene.cable.plugIn() },
  ];
  for (const { node, leave, comeBack } of absences) {
    const before = await resyncedMib(scene, node);
    await leave();
    await scene.inSync(2);
    await writeLittle(scene);
    await comeBack();
    await scene.identical();
    const missedMib = (await resyncedMib(scene, node)) - before;
    t.log(`${node.id} was sent ${missedMib} MiB for 0.0625 MiB missed`);
    t.true(missedMib > 0 && missedMib <= 0.5);
  }
  await scene.readAll();
});

test.serial('a flipped byte is found and repaired, and no read shows it', async (t) => {
  const scene = await clusterFor(t);
  const node = scene.stores[1]!;
  const repairs = (id: string) =>
    scene.gateway.metric('drover_block_repairs_total', `volume="disk0",node="${id}"`);
  const writer = scene.load();
  await sleep(3_000);
  await writer.stop();
  await scene.clients[0]!.flush();
  await scene.identical();
  t.true((await flipStampedBytes(node, 64)) > 0);
  const { differenceCount, differences } = await scene.gateway.verify();
  t.true(differenceCount > 0);
  t.true(differences.every(({ nodeId }) => nodeId === node.id));
  await scene.identical();
  const repaired = await repairs(node.id);
  t.log(`${differenceCount} damaged blocks were found, and repaired in ${repaired} runs`);
  t.true(repaired > 0);

  // Once more while everything is written and read, by a gateway that has nothing in its cache.
  await scene.gateway.stop();
  scene.gateway = await scene.startGateway('gateway1');
  await scene.attach();
  await underLoad(t, scene, {
    ...{ node, limitMs: 0 },
    make: async () => {
      t.true((await flipStampedBytes(node, 64)) > 0);
      await eventually('everything is repaired', 60_000, async () => {
        return (await scene.gateway.verify()).differenceCount === 0;
      });
    },
  });
  t.is((await repairs(scene.stores[0]!.id)) + (await repairs(scene.stores[2]!.id)), 0);
});

test.serial(
  'a disk that fills up takes its copy out, and brings it back when there is room',
  async (t) => {
    t.timeout(280_000);
    const folder = await temporaryFolder(t);
    const small = await smallFilesystem(t, join(folder, 'image'), join(folder, 'm'), 448 * MIB);
    const scene = await ClusterScene.start(t, randomForTest(t), {
      volumes: [...VOLUMES, 'big=1G'],
      storeDirectories: [undefined, undefined, join(small.folder, 'data')],
    });
    await scene.attach();
    const big = await scene.gateway.attach('big');
    const fillAndEmpty = async () => {
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
    };
    await underLoad(t, scene, {
      ...{ node: scene.stores[2]!, limitMs: SILENCE_LIMIT_MS },
      make: fillAndEmpty,
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
    const file = await openIfThere(join(folder, name));
    if (file === undefined) continue;
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

/** A segment without live blocks may be removed at any moment. */
async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
