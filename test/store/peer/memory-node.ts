/**
 * A `ReplicaNode` in memory, for testing what stands before one.
 *
 * Owns: objects as arrays of blocks, the rules of versions and epochs, a record of the calls in
 * their order, and holding answers back. Not durable, not fast, not for anything else.
 */
import { crc32 } from '@node-rs/crc32';
import type {
  InstallRequest,
  LeaseScope,
  NodeSpace,
  ObjectDescription,
  RepairRequest,
} from '../../../store/engine/replica-node.ts';
import {
  BlockKind,
  compareVersions,
  type ObjectKey,
  type ReadRequest,
  type ReadResult,
  VERSION_NONE,
  type Version,
  type VersionPage,
  type WriteRequest,
} from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import type { CopyTarget } from '../../../store/peer/copy-object.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';

interface MemoryObject {
  version: Version;
  /** What is not here is a hole. */
  readonly blocks: Map<number, Buffer | 'zero'>;
}

export class MemoryNode implements CopyTarget {
  readonly nodeId: string;
  readonly objects = new Map<string, MemoryObject>();
  readonly epochs = new Map<number, number>();
  /** Names of the calls, with what identifies them, in the order in which they came. */
  readonly calls: string[] = [];
  /** Set to hold answers back: each call waits for it before it ends. */
  gate: Promise<void> | undefined;

  constructor(nodeId: string) {
    this.nodeId = nodeId;
  }

  #find(key: ObjectKey): MemoryObject {
    return (
      this.objects.get(`${key.layerId}/${key.objectIndex}`) ?? {
        version: VERSION_NONE,
        blocks: new Map(),
      }
    );
  }

  #put(key: ObjectKey, object: MemoryObject): void {
    this.objects.set(`${key.layerId}/${key.objectIndex}`, object);
  }

  #fence({ volumeId, epoch }: LeaseScope): void {
    const told = this.epochs.get(volumeId) ?? 0;
    if (epoch < told) throw new DroverError('fenced', `epoch ${epoch} is over, ${told} rules`);
    this.epochs.set(volumeId, epoch);
  }

  async #record(call: string): Promise<void> {
    this.calls.push(call);
    await this.gate;
  }

  async write(request: WriteRequest): Promise<void> {
    await this.#record(`write ${request.objectIndex}@${request.target.seq}`);
    this.#fence(request);
    const object = this.#find(request);
    if (compareVersions(object.version, request.target) === 0) return;
    if (compareVersions(object.version, request.base) !== 0) {
      throw new DroverError('conflict', `object is at ${object.version.seq}`);
    }
    const blocks = new Map(object.blocks);
    const bytes = Buffer.concat(request.payload);
    let at = 0;
    for (const { startBlock, blockCount, kind } of request.extents) {
      for (let block = startBlock; block < startBlock + blockCount; block += 1) {
        if (kind === BlockKind.hole) blocks.delete(block);
        else if (kind === BlockKind.zero) blocks.set(block, 'zero');
        else {
          blocks.set(block, Buffer.from(bytes.subarray(at, at + BLOCK_BYTES)));
          at += BLOCK_BYTES;
        }
      }
    }
    this.#put(request, { version: request.target, blocks });
  }

  async read(request: ReadRequest, into: readonly Buffer[]): Promise<ReadResult> {
    await this.#record(`read ${request.objectIndex}`);
    const object = this.#find(request);
    if (compareVersions(object.version, request.expected) !== 0) {
      throw new DroverError('conflict', `object is at ${object.version.seq}`);
    }
    const { kinds, blockCrcs } = this.#kindsFrom(object, request.startBlock, request.blockCount);
    let block = 0;
    for (const buffer of into) {
      for (let at = 0; at < buffer.length; at += BLOCK_BYTES) {
        const content = object.blocks.get(request.startBlock + block);
        if (content !== undefined && content !== 'zero') content.copy(buffer, at);
        block += 1;
      }
    }
    return { kinds, blockCrcs };
  }

  #kindsFrom(object: MemoryObject, startBlock: number, blockCount: number): ReadResult {
    const kinds = new Uint8Array(blockCount);
    const blockCrcs = new Uint32Array(blockCount);
    for (let i = 0; i < blockCount; i += 1) {
      const content = object.blocks.get(startBlock + i);
      if (content === 'zero') kinds[i] = BlockKind.zero;
      else if (content !== undefined) {
        kinds[i] = BlockKind.data;
        blockCrcs[i] = crc32(content);
      }
    }
    return { kinds, blockCrcs };
  }

  async map(key: ObjectKey, blockCount: number): Promise<Uint8Array> {
    await this.#record(`map ${key.objectIndex}`);
    return this.#kindsFrom(this.#find(key), 0, blockCount).kinds;
  }

  async listVersions(layerId: number, from: number, limit: number): Promise<VersionPage> {
    await this.#record(`listVersions ${layerId} ${from}`);
    const found = [...this.objects]
      .map(([key, { version }]) => ({
        layer: Number(key.split('/')[0]),
        index: Number(key.split('/')[1]),
        version,
      }))
      .filter(({ layer, index }) => layer === layerId && index >= from)
      .sort((a, b) => a.index - b.index)
      .slice(0, limit);
    return {
      count: found.length,
      objectIndexes: Uint32Array.from(found, ({ index }) => index),
      epochs: Uint32Array.from(found, ({ version }) => version.epoch),
      seqs: Float64Array.from(found, ({ version }) => version.seq),
    };
  }

  async adoptEpoch(volumeId: number, epoch: number): Promise<void> {
    await this.#record(`adoptEpoch ${volumeId} ${epoch}`);
    this.#fence({ volumeId, epoch });
  }

  async removeLayer(layerId: number): Promise<void> {
    await this.#record(`removeLayer ${layerId}`);
    for (const key of this.objects.keys()) {
      if (key.startsWith(`${layerId}/`)) this.objects.delete(key);
    }
  }

  async install(request: InstallRequest, over?: Version): Promise<void> {
    await this.#record(`install ${request.objectIndex}@${request.version.seq}`);
    this.#fence(request);
    const { version } = this.#find(request);
    if (over !== undefined && compareVersions(version, over) !== 0) {
      throw new DroverError('conflict', `object is at ${version.seq}`);
    }
    const bytes = Buffer.concat(request.payload);
    const blocks = new Map<number, Buffer | 'zero'>();
    let at = 0;
    request.kinds.forEach((kind, block) => {
      if (kind === BlockKind.zero) blocks.set(block, 'zero');
      if (kind !== BlockKind.data) return;
      blocks.set(block, Buffer.from(bytes.subarray(at, at + BLOCK_BYTES)));
      at += BLOCK_BYTES;
    });
    this.#put(request, { version: request.version, blocks });
  }

  async removeObject(request: ObjectKey & LeaseScope): Promise<void> {
    await this.#record(`removeObject ${request.objectIndex}`);
    this.#fence(request);
    this.objects.delete(`${request.layerId}/${request.objectIndex}`);
  }

  async repair(request: RepairRequest): Promise<void> {
    await this.#record(`repair ${request.objectIndex}`);
    this.#fence(request);
    const object = this.#find(request);
    if (compareVersions(object.version, request.version) !== 0) {
      throw new DroverError('conflict', `object is at ${object.version.seq}`);
    }
    const bytes = Buffer.concat(request.payload);
    request.blockCrcs.forEach((_, i) => {
      const content = Buffer.from(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
      object.blocks.set(request.startBlock + i, content);
    });
  }

  async describeObject(key: ObjectKey, blockCount: number): Promise<ObjectDescription> {
    await this.#record(`describeObject ${key.objectIndex}`);
    const object = this.#find(key);
    return { version: object.version, ...this.#kindsFrom(object, 0, blockCount) };
  }

  async space(): Promise<NodeSpace> {
    await this.#record('space');
    return {
      capacityBytes: 2 ** 44 + 1,
      liveBytes: 12_345,
      freeBytes: 2 ** 43 + 3,
      objectCount: this.objects.size,
    };
  }

  async listLayers(): Promise<number[]> {
    await this.#record('listLayers');
    return [...new Set([...this.objects.keys()].map((key) => Number(key.split('/')[0])))];
  }
}
