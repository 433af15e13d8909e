/**
 * A small cluster on simulated time: nodes, a control plane, one volume, and gateways that attach it.
 *
 * Owns: making the parts, the disasters that involve more than one of them, and a gateway's whole
 * process (its clock, links, session, attached store) that can be stopped or killed.
 */
import type { ControlSession } from '../../../../store/control/control-plane.ts';
import {
  directoryKey,
  directoryPut,
  type KnownDirectory,
} from '../../../../store/control/directory-history.ts';
import {
  newReplicaSet,
  type ReplicaSetRecord,
} from '../../../../store/control/replica-set-record.ts';
import { VolumeDirectory } from '../../../../store/control/volume-directory.ts';
import { type VolumeRecord, volumeKey } from '../../../../store/control/volume-record.ts';
import { BlockKind, type Extent } from '../../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../../store/geometry.ts';
import { type AttachOptions, attachVolume } from '../../../../store/replication/attach.ts';
import type { ReplicatedStore } from '../../../../store/replication/replicated-store.ts';
import type { Logger } from '../../../../store/runtime/logger.ts';
import type { SeededRandom } from '../../../support/seeded-random.ts';
import { SimClock, SimTimeline } from './sim-clock.ts';
import { SimControl, type SimControlUser } from './sim-control.ts';
import { SimLink } from './sim-link.ts';
import { SimNode } from './sim-node.ts';

export const VOLUME_NAME = 'disk0';
export const LAYER_ID = 7;
export const OBJECT_BYTES = 64 * 1024;
export const BLOCKS_PER_OBJECT = OBJECT_BYTES / BLOCK_BYTES;
export const LEASE_TTL_MS = 6000;
const REGISTRATION_MS = 3000;

export class SimCluster {
  readonly timeline = new SimTimeline();
  readonly clock = new SimClock(this.timeline);
  readonly random: SeededRandom;
  readonly control: SimControl;
  readonly nodes = new Map<string, SimNode>();
  readonly gateways: SimGateway[] = [];
  readonly events: string[] = [];

  constructor(random: SeededRandom, nodeCount = 3, minInSync?: number) {
    this.random = random;
    this.control = new SimControl(this.clock, random);
    for (let at = 1; at <= nodeCount; at++) this.nodes.set(`n${at}`, new SimNode(`n${at}`));
    const record: VolumeRecord = {
      id: 7,
      name: VOLUME_NAME,
      sizeBytes: 64 * OBJECT_BYTES,
      objectBytes: OBJECT_BYTES,
      layerId: LAYER_ID,
      epoch: 0,
      isReadOnly: false,
      replicas: newReplicaSet([...this.nodes.values()], minInSync),
    };
    this.control.commit({ expect: [], put: [{ key: volumeKey(VOLUME_NAME), value: record }] });
    for (const node of this.nodes.values()) this.#open(node);
    this.#registerAgain();
  }

  /** A node serves nobody before its directory was judged and its opening is known. */
  #open(node: SimNode): void {
    if (this.#isOld(node.directoryState)) {
      node.renameDirectory();
      this.note(`the directory of ${node.nodeId} is old, and is ${node.directoryId} from now on`);
    }
    node.markOpening();
    this.#register(node);
  }

  #register(node: SimNode): void {
    this.control.commit({ expect: [], put: [directoryPut(node.directoryState)] });
  }

  #registerAgain(): void {
    this.clock.setTimer(REGISTRATION_MS, () => {
      for (const node of this.nodes.values()) {
        if (node.isUp && !node.isFrozen) this.#register(node);
      }
      this.#registerAgain();
    });
  }

  #isOld({ directoryId, batchSeq }: KnownDirectory): boolean {
    const known = this.control.value(directoryKey(directoryId)) as KnownDirectory | undefined;
    return known !== undefined && batchSeq < known.batchSeq;
  }

  /** Whether the node's old copy, put back now, would be known for one. */
  hasKnownOldCopy(nodeId: string): boolean {
    const old = this.node(nodeId).oldCopyState;
    return old !== undefined && this.#isOld(old);
  }

  get replicas(): ReplicaSetRecord {
    return (this.control.value(volumeKey(VOLUME_NAME)) as VolumeRecord).replicas!;
  }

  node(nodeId: string): SimNode {
    return this.nodes.get(nodeId)!;
  }

  /** Puts so many objects, every second index, on all nodes, as an earlier lease left them. */
  fill(objectCount: number): void {
    for (const node of this.nodes.values()) {
      node.adoptEpoch(7, 1);
      for (let at = 0; at < objectCount; at++) {
        const objectIndex = 2 * at;
        node.write({
          volumeId: 7,
          layerId: LAYER_ID,
          objectIndex,
          epoch: 1,
          base: { epoch: 0, seq: 0 },
          target: { epoch: 1, seq: objectIndex + 1 },
          extents: [{ startBlock: 0, blockCount: 1, kind: BlockKind.zero }],
          blockCrcs: new Uint32Array(0),
          payload: [],
        });
      }
    }
    const key = volumeKey(VOLUME_NAME);
    const value = { ...(this.control.value(key) as VolumeRecord), epoch: 1 };
    this.control.commit({ expect: [], put: [{ key, value }] });
  }

  gateway(holderId: string): SimGateway {
    const gateway = new SimGateway(this, holderId);
    this.gateways.push(gateway);
    return gateway;
  }

  note(event: string): void {
    this.events.push(`${Math.round(this.timeline.nowMs)} ${event}`);
  }

  kill(nodeId: string): void {
    this.note(`kill ${nodeId}`);
    const node = this.node(nodeId);
    node.isUp = false;
    node.isFrozen = false;
    for (const gateway of this.gateways) gateway.link(nodeId).onNodeDown();
  }

  restart(nodeId: string): void {
    this.note(`restart ${nodeId}`);
    const node = this.node(nodeId);
    node.isUp = true;
    node.openCount += 1;
    this.#open(node);
    for (const gateway of this.gateways) gateway.link(nodeId).onNodeUp();
  }

  freeze(nodeId: string): void {
    this.note(`freeze ${nodeId}`);
    this.node(nodeId).isFrozen = true;
  }

  thaw(nodeId: string): void {
    this.note(`thaw ${nodeId}`);
    this.node(nodeId).isFrozen = false;
    for (const gateway of this.gateways) gateway.link(nodeId).onNodeThawed();
  }

  /** The content of the nodes, block by block, must be the same on all of them. */
  differences(): string[] {
    const [first, ...others] = [...this.nodes.values()];
    const found: string[] = [];
    for (const other of others) {
      const indexes = new Set([...first!.layer(LAYER_ID).keys(), ...other.layer(LAYER_ID).keys()]);
      for (const objectIndex of indexes) {
        const key = { layerId: LAYER_ID, objectIndex };
        const a = describe(first!, key);
        const b = describe(other, key);
        if (a !== b) found.push(`object ${objectIndex} on ${other.nodeId}: ${b}, not ${a}`);
      }
    }
    return found;
  }
}

function describe(node: SimNode, key: { layerId: number; objectIndex: number }): string {
  const object = node.object(key);
  if (object === undefined) return 'none';
  const blocks = [...object.blocks]
    .filter(([, { kind }]) => kind === BlockKind.data)
    .sort(([a], [b]) => a - b)
    .map(([block, { bytes }]) => `${block}=${bytes.readUInt32LE(0)}`);
  return `${object.version.epoch}.${object.version.seq} ${blocks.join(' ')}`;
}

export class SimGateway {
  readonly holderId: string;
  readonly clock: SimClock;
  readonly control: SimControlUser;
  readonly logLines: string[] = [];
  store!: ReplicatedStore;
  lostReason: string | undefined;
  readonly #cluster: SimCluster;
  readonly #links = new Map<string, SimLink>();
  session!: ControlSession;

  constructor(cluster: SimCluster, holderId: string) {
    this.#cluster = cluster;
    this.holderId = holderId;
    this.clock = new SimClock(cluster.timeline);
    this.control = cluster.control.user(this.clock);
    for (const node of cluster.nodes.values()) {
      const { nodes, clock, random } = cluster;
      this.#links.set(node.nodeId, new SimLink(node, nodes, this.clock, clock, random));
    }
  }

  link(nodeId: string): SimLink {
    return this.#links.get(nodeId)!;
  }

  get log(): Logger {
    const write = (fields: object, message: string) => {
      this.logLines.push(`${message} ${JSON.stringify(fields)}`);
      this.#cluster.note(`${this.holderId}: ${message} ${JSON.stringify(fields)}`);
    };
    return { debug: write, info: write, warn: write, error: write };
  }

  options(session: ControlSession): AttachOptions {
    return {
      directory: new VolumeDirectory(this.control),
      holder: { session, holderId: this.holderId, holderKind: 'gateway' },
      clock: this.clock,
      log: this.log,
      random: this.#cluster.random,
      volumeName: VOLUME_NAME,
      links: (nodeId) => this.link(nodeId),
      onLost: (error) => {
        this.lostReason = error.message;
      },
    };
  }

  async attach(changes: Partial<AttachOptions> = {}): Promise<ReplicatedStore> {
    this.session = await this.control.startSession(LEASE_TTL_MS);
    this.store = await attachVolume({ ...this.options(this.session), ...changes });
    return this.store;
  }

  /** As SIGKILL: nothing of it happens any more, and its connections are gone. */
  kill(): void {
    this.#cluster.note(`kill ${this.holderId}`);
    this.clock.stop();
    for (const link of this.#links.values()) link.cut();
  }
}

/** A block whose every word says which write it came from. */
export function stampedBlocks(stamps: readonly number[]): Buffer {
  const bytes = Buffer.alloc(stamps.length * BLOCK_BYTES);
  stamps.forEach((stamp, at) => {
    new Uint32Array(bytes.buffer, bytes.byteOffset + at * BLOCK_BYTES, BLOCK_BYTES / 4).fill(stamp);
  });
  return bytes;
}

export function dataExtent(startBlock: number, blockCount: number): Extent {
  return { startBlock, blockCount, kind: BlockKind.data };
}

export function writeStamp(
  store: ReplicatedStore,
  objectIndex: number,
  block: number,
  stamp: number,
): Promise<void> {
  return store.write(objectIndex, [dataExtent(block, 1)], [stampedBlocks([stamp])]);
}

/** The stamp of a block; 0 if it reads as zeros. */
export async function readStamp(
  store: ReplicatedStore,
  objectIndex: number,
  block: number,
): Promise<number> {
  if (!store.exists(objectIndex)) return 0;
  const into = Buffer.alloc(BLOCK_BYTES);
  const kinds = await store.read(objectIndex, block, [into]);
  return kinds[0] === BlockKind.data ? into.readUInt32LE(0) : 0;
}
