/**
 * A guest with a write-back cache, and what it may rely on.
 *
 * Owns: for each block the value that was acknowledged last and those that may have come after it.
 * It keeps the rules of `ObjectStore`'s user: one write of an object at a time, no read of blocks
 * that are dirty, a failed write stays dirty and is tried again.
 */

import type { VolumeRecord } from '../../../../store/control/volume-record.ts';
import { volumeKey } from '../../../../store/control/volume-record.ts';
import { BlockKind, type Extent } from '../../../../store/engine/store-node.ts';
import type { ReplicatedStore } from '../../../../store/replication/replicated-store.ts';
import {
  BLOCKS_PER_OBJECT,
  LAYER_ID,
  readStamp,
  type SimCluster,
  type SimGateway,
  stampedBlocks,
  VOLUME_NAME,
} from './sim-cluster.ts';

interface GuestBlock {
  /** The values that a read may give; the first one was acknowledged or seen. */
  allowed: number[];
  /** The newest value, not acknowledged; `undefined` if there is none. */
  dirty: number | undefined;
  /** Grows with every change; a read that saw one is too late. */
  changes: number;
}

export class SimGuest {
  readonly objectCount: number;
  readonly #cluster: SimCluster;
  readonly #blocks = new Map<number, GuestBlock>();
  readonly #busyObjects = new Set<number>();
  /** Nodes that lost something since they were in sync last; they prove nothing. */
  readonly damaged = new Set<string>();
  #nextStamp = 1;
  #attachment = 0;
  acknowledged = 0;
  failed = 0;
  reads = 0;
  /** What must not have happened. */
  readonly violations: string[] = [];

  constructor(cluster: SimCluster, objectCount: number) {
    this.#cluster = cluster;
    this.objectCount = objectCount;
  }

  get isQuiet(): boolean {
    return this.#busyObjects.size === 0 && !this.hasDirty;
  }

  get hasDirty(): boolean {
    return [...this.#blocks.values()].some(({ dirty }) => dirty !== undefined);
  }

  /** What was dirty is lost with the gateway, and so are the answers to come. */
  onGatewayGone(): void {
    this.#attachment += 1;
    this.#busyObjects.clear();
    for (const block of this.#blocks.values()) block.dirty = undefined;
  }

  #block(objectIndex: number, block: number): GuestBlock {
    const key = objectIndex * BLOCKS_PER_OBJECT + block;
    const known = this.#blocks.get(key) ?? { allowed: [0], dirty: undefined, changes: 0 };
    this.#blocks.set(key, known);
    return known;
  }

  #isDirty(objectIndex: number, block: number): boolean {
    return this.#block(objectIndex, block).dirty !== undefined;
  }

  /** Makes some blocks of an object dirty. */
  change(objectIndex: number, startBlock: number, blockCount: number, isTrim: boolean): void {
    for (let block = startBlock; block < startBlock + blockCount; block++) {
      const value = isTrim ? 0 : this.#nextStamp++;
      const found = this.#block(objectIndex, block);
      found.dirty = value;
      found.changes += 1;
      found.allowed.push(value);
    }
  }

  /** Sends what is dirty of an object, unless a write of it is under way. */
  flush(gateway: SimGateway, objectIndex: number): void {
    if (this.#busyObjects.has(objectIndex)) return;
    const extents: Extent[] = [];
    const stamps: number[] = [];
    const sent = new Map<number, number>();
    for (let block = 0; block < BLOCKS_PER_OBJECT; block++) {
      const { dirty } = this.#block(objectIndex, block);
      if (dirty === undefined) continue;
      sent.set(block, dirty);
      const kind = dirty === 0 ? BlockKind.hole : BlockKind.data;
      extents.push({ startBlock: block, blockCount: 1, kind });
      if (dirty !== 0) stamps.push(dirty);
    }
    if (sent.size === 0) return;
    this.#busyObjects.add(objectIndex);
    const attachment = this.#attachment;
    const payload = stampedBlocks(stamps);
    gateway.store.write(objectIndex, extents, stamps.length === 0 ? [] : [payload]).then(
      () => {
        if (attachment !== this.#attachment) return;
        this.#busyObjects.delete(objectIndex);
        this.#onAcknowledged(objectIndex, sent);
        // The cache uses the memory for something else.
        payload.fill(0xee);
      },
      () => {
        if (attachment !== this.#attachment) return;
        this.#busyObjects.delete(objectIndex);
        this.failed += 1;
        payload.fill(0xdd);
      },
    );
  }

  #onAcknowledged(objectIndex: number, sent: ReadonlyMap<number, number>): void {
    this.acknowledged += 1;
    for (const [block, value] of sent) {
      const found = this.#block(objectIndex, block);
      const later = found.allowed.slice(found.allowed.lastIndexOf(value));
      found.allowed = later;
      if (found.dirty === value && later.length === 1) found.dirty = undefined;
    }
    this.#checkCopies(objectIndex, sent);
  }

  /** At the moment of an acknowledgement everybody in the record has the write. */
  #checkCopies(objectIndex: number, sent: ReadonlyMap<number, number>): void {
    const record = this.#cluster.control.value(volumeKey(VOLUME_NAME)) as VolumeRecord;
    const { inSync, minInSync } = record.replicas!;
    if (inSync.length < minInSync)
      this.violations.push(`acknowledged with ${inSync.length} copies`);
    for (const nodeId of inSync) {
      if (this.damaged.has(nodeId)) continue;
      const object = this.#cluster.node(nodeId).object({ layerId: LAYER_ID, objectIndex });
      for (const [block, value] of sent) {
        const found = object?.blocks.get(block);
        const stamp = found?.kind === BlockKind.data ? found.bytes.readUInt32LE(0) : 0;
        if (stamp === value) continue;
        this.violations.push(
          `${nodeId} has ${stamp} in block ${objectIndex}/${block} when ${value} is acknowledged`,
        );
      }
    }
  }

  /** Reads a clean block; what is seen stays. */
  read(gateway: SimGateway, objectIndex: number, block: number): void {
    if (this.#isDirty(objectIndex, block)) return;
    const attachment = this.#attachment;
    const { changes } = this.#block(objectIndex, block);
    readStamp(gateway.store, objectIndex, block).then(
      (value) => {
        if (attachment !== this.#attachment) return;
        const found = this.#block(objectIndex, block);
        this.reads += 1;
        // It may have been changed and written while it was read; then the cache drops the answer.
        if (found.changes !== changes) return;
        this.#onSeen(objectIndex, block, value);
      },
      () => undefined,
    );
  }

  #onSeen(objectIndex: number, block: number, value: number): void {
    const found = this.#block(objectIndex, block);
    if (!found.allowed.includes(value)) {
      this.violations.push(
        `block ${objectIndex}/${block} reads as ${value}, allowed is ${found.allowed.join(' ')}`,
      );
      return;
    }
    found.allowed = [value];
  }

  /** Reads everything; every block must have an allowed value. */
  async checkAll(store: ReplicatedStore): Promise<void> {
    for (let objectIndex = 0; objectIndex < this.objectCount; objectIndex++) {
      for (let block = 0; block < BLOCKS_PER_OBJECT; block++) {
        this.#onSeen(objectIndex, block, await readStamp(store, objectIndex, block));
      }
    }
  }
}
