/**
 * A cluster of real processes: etcd, three store nodes, gateways; and the model of what its disk
 * may hold while nodes and gateways fail.
 *
 * Owns: the processes of the moment, the load, and watching for how long I/O stalls.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd } from '../support/etcd.ts';
import { FLAG_FUA, type NbdClient } from '../support/nbd-client.ts';
import { NetworkCable } from '../support/network-cable.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { STAMPED_BLOCK_BYTES, StampedDiskModel } from '../support/stamped-disk-model.ts';
import { type LoadMix, StampingWriter, USUAL_MIX } from '../support/stamping-writer.ts';
import { type TestScope, temporaryFolder } from '../support/temp-folder.ts';
import { eventually } from '../support/time-limit.ts';
import { FioLoad } from './fio-load.ts';
import { GatewayProcess } from './gateway-process.ts';
import { StoreProcess } from './store-process.ts';

export const DISK_MIB = 64;
const MIB = 1024 * 1024;
const BLOCK_COUNT = (DISK_MIB * MIB) / STAMPED_BLOCK_BYTES;
const BLOCKS_PER_READ = MIB / STAMPED_BLOCK_BYTES;
const WHOLE_LIMIT_MS = 60_000;
const PROBE_INTERVAL_MS = 50;

/** The defaults. */
export const SILENCE_LIMIT_MS = 5_000;
export const REFUSAL_LIMIT_MS = 1_000;

export interface Stalls {
  readonly volumeMs: number;
  readonly machineMs: number;
}

export interface SceneOptions {
  /** Where a store's data is, if not in the scene's folder. */
  readonly storeDirectories?: readonly (string | undefined)[];
  readonly volumes?: readonly string[];
  /** Nodes are reached through relays that can be cut. */
  readonly hasRoads?: boolean;
  /** The last node is on a machine of its own, at the end of a cable that can be pulled out. */
  readonly hasCable?: boolean;
}

export class ClusterScene {
  readonly folder: string;
  readonly etcd: Etcd;
  readonly stores: readonly StoreProcess[];
  readonly model = new StampedDiskModel(BLOCK_COUNT);
  gateway!: GatewayProcess;
  clients: NbdClient[] = [];
  readonly #scope: TestScope;
  readonly #random: SeededRandom;
  readonly #options: SceneOptions;
  readonly #cable: NetworkCable | undefined;

  static async start(
    t: TestScope,
    random: SeededRandom,
    options: SceneOptions = {},
  ): Promise<ClusterScene> {
    const folder = await temporaryFolder(t);
    const cable = options.hasCable === true ? await NetworkCable.lay(t) : undefined;
    const etcd = await Etcd.start(t, cable?.nearHost);
    const control = `etcd://${etcd.endpoint}`;
    const stores = await Promise.all(
      [1, 2, 3].map((number) => {
        const id = `store${number}`;
        const hasRoad = options.hasRoads === true;
        const dataDirectory = options.storeDirectories?.[number - 1] ?? join(folder, id);
        const isFar = number === 3;
        const host = isFar ? cable?.farHost : cable?.nearHost;
        const namespace = isFar ? cable?.namespace : undefined;
        return StoreProcess.start(t, { id, control, dataDirectory, hasRoad, host, namespace });
      }),
    );
    const scene = new ClusterScene(t, random, options, folder, etcd, stores, cable);
    scene.gateway = await scene.startGateway('gateway1');
    return scene;
  }

  private constructor(
    t: TestScope,
    random: SeededRandom,
    options: SceneOptions,
    folder: string,
    etcd: Etcd,
    stores: readonly StoreProcess[],
    cable: NetworkCable | undefined,
  ) {
    this.#scope = t;
    this.#random = random;
    this.#options = options;
    this.folder = folder;
    this.etcd = etcd;
    this.stores = stores;
    this.#cable = cable;
  }

  get cable(): NetworkCable {
    if (this.#cable === undefined) throw new Error('no node is at the end of a cable');
    return this.#cable;
  }

  startGateway(id: string): Promise<GatewayProcess> {
    const volumes = this.#options.volumes ?? [`disk0=${DISK_MIB}M`];
    return GatewayProcess.start(this.#scope, {
      ...{ id, folder: this.folder, control: `etcd://${this.etcd.endpoint}` },
      args: volumes.flatMap((volume) => ['--volume', volume]),
    });
  }

  async attach(gateway = this.gateway): Promise<void> {
    this.clients = [
      await gateway.attach('disk0', false),
      await gateway.attach(),
      await gateway.attach(),
    ];
  }

  /** On a volume of its own, `FIO_VOLUME`. */
  fio(): FioLoad {
    return new FioLoad(this.gateway, this.#random, this.folder);
  }

  load(mix: LoadMix = USUAL_MIX): StampingWriter {
    return new StampingWriter(this.model, this.#random, this.clients, mix);
  }

  /**
   * The longest time that one durable write took while `during` ran, and what one took that only
   * went to a file beside the data: what is slow there is the machine.
   */
  async longestStalls(during: () => Promise<void>): Promise<Stalls> {
    const probe = await this.gateway.attach('probe');
    const file = await open(join(this.folder, 'probe'), 'w');
    const block = Buffer.alloc(STAMPED_BLOCK_BYTES, 1);
    const watch = new AbortController();
    const ofVolume = longestMs(watch.signal, () => probe.write(0, block, FLAG_FUA));
    const ofMachine = longestMs(watch.signal, async () => {
      await file.write(block, 0, block.length, 0);
      await file.datasync();
    });
    try {
      await during();
    } finally {
      watch.abort();
    }
    const stalls = { volumeMs: await ofVolume, machineMs: await ofMachine };
    await file.close();
    await probe.disconnect();
    return stalls;
  }

  /** The volume has `copies` copies in sync. */
  async inSync(copies: number, limitMs = WHOLE_LIMIT_MS, gateway = this.gateway): Promise<void> {
    await eventually(`${copies} copies in sync`, limitMs, async () => {
      const { inSyncCopies, objectsBehind } = await gateway.volume();
      return inSyncCopies === copies && (copies < 3 || objectsBehind === 0);
    });
  }

  /** All copies are there and identical, block by block. */
  async identical(gateway = this.gateway): Promise<void> {
    await this.inSync(3, WHOLE_LIMIT_MS, gateway);
    const report = await gateway.verify();
    if (report.differenceCount > 0 || report.nodeIds.length !== 3) {
      throw new Error(`the copies differ: ${JSON.stringify(report)}`);
    }
  }

  /** Reads the whole disk while nothing is written: every block is what was answered last. */
  async readAll(): Promise<void> {
    await this.#readBlocks((block, expected, bytes) => {
      const stamp = Number(bytes.readBigUInt64LE(8));
      if (stamp !== expected) throw new Error(`block ${block} reads as ${stamp}, not ${expected}`);
    });
  }

  /** Reads the whole disk after its gateway died; what was read becomes the truth. */
  async readAfterCrash(): Promise<void> {
    await this.#readBlocks((block, _expected, bytes) => {
      this.model.readAfterCrash(block, bytes);
    });
  }

  async #readBlocks(
    judge: (block: number, expected: number, bytes: Buffer) => void,
  ): Promise<void> {
    for (let start = 0; start < BLOCK_COUNT; start += BLOCKS_PER_READ) {
      const expected = this.model.readSubmitted(start, BLOCKS_PER_READ);
      const bytes = await this.clients[0]!.read(start * STAMPED_BLOCK_BYTES, MIB);
      this.model.readAnswered(start, BLOCKS_PER_READ);
      for (const [index, stamp] of expected.entries()) {
        const at = index * STAMPED_BLOCK_BYTES;
        judge(start + index, stamp, bytes.subarray(at, at + STAMPED_BLOCK_BYTES));
      }
    }
  }
}

/** The longest of many runs of `act`, and of the pauses between them beyond what was meant. */
async function longestMs(signal: AbortSignal, act: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  while (!signal.aborted) {
    const startMs = performance.now();
    await act();
    await sleep(PROBE_INTERVAL_MS);
    longest = Math.max(longest, performance.now() - startMs - PROBE_INTERVAL_MS);
  }
  return longest;
}
