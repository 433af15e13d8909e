/**
 * A store node in memory with the rules of `ReplicaNode`, and the disasters that can befall it.
 *
 * Owns: objects, epochs, what a kill, a wipe, an old copy, a full disk and a flipped bit do. What a
 * node has applied is durable. Does not own: how requests reach it (`sim-link.ts`).
 */
import { crc32 } from '@node-rs/crc32';
import type { KnownDirectory } from '../../../../store/control/directory-history.ts';
import type {
  CopyRequest,
  CopyResult,
  InstallRequest,
  LeaseScope,
  NodeSpace,
  ObjectDescription,
  RepairRequest,
} from '../../../../store/engine/replica-node.ts';
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
} from '../../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../../store/geometry.ts';
import { DroverError } from '../../../../store/runtime/drover-error.ts';

export interface SimBlock {
  readonly kind: BlockKind;
  readonly crc: number;
  readonly bytes: Buffer;
}

export interface SimObject {
  version: Version;
  readonly blocks: Map<number, SimBlock>;
}

/** What lies in the data directory. */
interface Content {
  readonly directoryId: string;
  /** The number of the next batch of its log: grows with every change. */
  batchSeq: number;
  readonly epochs: Map<number, number>;
  readonly layers: Map<number, Map<number, SimObject>>;
}

function copyContent(content: Content): Content {
  const layers = new Map<number, Map<number, SimObject>>();
  for (const [layerId, objects] of content.layers) {
    const copies = new Map<number, SimObject>();
    for (const [index, { version, blocks }] of objects) {
      copies.set(index, { version, blocks: new Map(blocks) });
    }
    layers.set(layerId, copies);
  }
  const { directoryId, batchSeq } = content;
  return { directoryId, batchSeq, epochs: new Map(content.epochs), layers };
}

function newContent(directoryId: string): Content {
  return { directoryId, batchSeq: 1, epochs: new Map(), layers: new Map() };
}

export class SimNode {
  readonly nodeId: string;
  openCount = 1;
  isUp = true;
  isFrozen = false;
  /** Writes of data are refused. */
  isFull = false;
  /** Every write fails, as on a disk with errors. */
  isFailing = false;
  receivedBytes = 0;
  reads = 0;
  #content: Content;
  #old: Content | undefined;
  #directories = 0;

  constructor(nodeId: string) {
    this.nodeId = nodeId;
    this.#content = newContent(this.#nextDirectoryId());
  }

  #nextDirectoryId(): string {
    this.#directories += 1;
    return `${this.nodeId}-directory-${this.#directories - 1}`;
  }

  get directoryId(): string {
    return this.#content.directoryId;
  }

  get directoryState(): KnownDirectory {
    const { directoryId, batchSeq } = this.#content;
    return { directoryId, batchSeq };
  }

  /** As the engine does with a directory that is judged to be old. */
  renameDirectory(): void {
    this.#content = { ...this.#content, directoryId: this.#nextDirectoryId() };
  }

  /** As each opening does. */
  markOpening(): void {
    this.#content.batchSeq += 1;
  }

  object({ layerId, objectIndex }: ObjectKey): SimObject | undefined {
    return this.#content.layers.get(layerId)?.get(objectIndex);
  }

  layer(layerId: number): Map<number, SimObject> {
    return this.#content.layers.get(layerId) ?? new Map();
  }

  wipe(): void {
    this.#content = newContent(this.#nextDirectoryId());
    this.#old = undefined;
  }

  keepOldCopy(): void {
    this.#old = copyContent(this.#content);
  }

  get hasOldCopy(): boolean {
    return this.#old !== undefined;
  }

  get oldCopyState(): KnownDirectory | undefined {
    return this.#old;
  }

  putOldCopyBack(): void {
    if (this.#old === undefined) throw new Error('no old copy was kept');
    this.#content = copyContent(this.#old);
  }

  /** Changes stored bytes behind the checksum's back; false if the block holds no data. */
  flipBit(key: ObjectKey, block: number): boolean {
    const blocks = this.object(key)?.blocks;
    const found = blocks?.get(block);
    if (blocks === undefined || found === undefined || found.kind !== BlockKind.data) return false;
    const bytes = Buffer.from(found.bytes);
    bytes[17]! ^= 1;
    blocks.set(block, { ...found, bytes });
    return true;
  }

  hasBadBlock(key: ObjectKey): boolean {
    const blocks = [...(this.object(key)?.blocks.values() ?? [])];
    return blocks.some(({ kind, crc, bytes }) => kind === BlockKind.data && crc32(bytes) !== crc);
  }

  epochOf(volumeId: number): number {
    return this.#content.epochs.get(volumeId) ?? 0;
  }

  adoptEpoch(volumeId: number, epoch: number): void {
    this.#checkEpoch({ volumeId, epoch });
    if (this.epochOf(volumeId) === epoch) return;
    this.#content.epochs.set(volumeId, epoch);
    this.#content.batchSeq += 1;
  }

  write(request: WriteRequest): void {
    this.#write(request, true);
  }

  /** As a node that does not compare what it was handed with its checksums. */
  writeUnchecked(request: WriteRequest): void {
    this.#write(request, false);
  }

  #write(request: WriteRequest, isChecked: boolean): void {
    this.#checkEpoch(request);
    if (this.isFailing) throw new DroverError('unavailable', 'the disk has failed');
    const version = this.#versionOf(request);
    if (compareVersions(version, request.target) === 0) return;
    if (compareVersions(version, request.base) !== 0) {
      throw new DroverError('conflict', `object is at ${version.epoch}.${version.seq}`);
    }
    const blocks = blocksOfWrite(request, isChecked);
    if (this.isFull && request.payload.length > 0) throw new DroverError('outOfSpace', 'full');
    this.#content.epochs.set(request.volumeId, request.epoch);
    this.#content.batchSeq += 1;
    const object = this.#makeObject(request);
    object.version = request.target;
    for (const [block, content] of blocks) object.blocks.set(block, content);
    for (const buffer of request.payload) this.receivedBytes += buffer.length;
  }

  read(request: ReadRequest, into: readonly Buffer[]): ReadResult {
    this.reads += 1;
    const version = this.#versionOf(request);
    if (compareVersions(version, request.expected) !== 0) {
      throw new DroverError('conflict', `object is at ${version.epoch}.${version.seq}`);
    }
    const blocks = this.object(request)?.blocks;
    const kinds = new Uint8Array(request.blockCount);
    const blockCrcs = new Uint32Array(request.blockCount);
    const places = into.flatMap((buffer) =>
      Array.from({ length: buffer.length / BLOCK_BYTES }, (_, at) =>
        buffer.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES),
      ),
    );
    for (let at = 0; at < request.blockCount; at++) {
      const found = blocks?.get(request.startBlock + at);
      if (found === undefined) continue;
      kinds[at] = found.kind;
      if (found.kind !== BlockKind.data) continue;
      blockCrcs[at] = found.crc;
      found.bytes.copy(places[at]!);
    }
    return { kinds, blockCrcs };
  }

  describeObject(key: ObjectKey, blockCount: number): ObjectDescription {
    const kinds = new Uint8Array(blockCount);
    const blockCrcs = new Uint32Array(blockCount);
    for (const [block, { kind, crc }] of this.object(key)?.blocks ?? []) {
      kinds[block] = kind;
      blockCrcs[block] = crc;
    }
    return { version: this.#versionOf(key), kinds, blockCrcs };
  }

  listVersions(layerId: number, fromObjectIndex: number, limit: number): VersionPage {
    const found = [...this.layer(layerId)]
      .filter(([index]) => index >= fromObjectIndex)
      .sort(([a], [b]) => a - b)
      .slice(0, limit);
    return {
      count: found.length,
      objectIndexes: Uint32Array.from(found, ([index]) => index),
      epochs: Uint32Array.from(found, ([, { version }]) => version.epoch),
      seqs: Float64Array.from(found, ([, { version }]) => version.seq),
    };
  }

  removeLayer(layerId: number): void {
    this.#content.layers.delete(layerId);
    this.#content.batchSeq += 1;
  }

  listLayers(): number[] {
    return [...this.#content.layers.keys()];
  }

  removeObject(request: ObjectKey & LeaseScope): void {
    this.#checkEpoch(request);
    this.#content.layers.get(request.layerId)?.delete(request.objectIndex);
    this.#content.batchSeq += 1;
  }

  /** The copy as one step; `source` is the node it comes from, if that can be reached. */
  copyObject(request: CopyRequest, source: SimNode | undefined): CopyResult {
    this.#checkEpoch(request);
    if (source === undefined) throw new DroverError('unavailable', 'the source is away');
    const description = source.describeObject(request, request.blockCount);
    if (compareVersions(description.version, request.version) !== 0) {
      throw new DroverError('conflict', 'the source has another version');
    }
    const wanted = (block: number) =>
      request.delta === undefined ||
      (request.delta.changedBlocks[block >>> 3]! & (1 << (block & 7))) !== 0;
    if (request.delta !== undefined) {
      const here = this.#versionOf(request);
      if (compareVersions(here, request.version) === 0) return { receivedBytes: 0 };
      if (compareVersions(here, request.delta.base) !== 0) {
        throw new DroverError('conflict', 'the base of the delta is not here');
      }
    }
    const blocks = new Map<number, SimBlock>();
    let receivedBytes = 0;
    for (const [block, content] of source.object(request)?.blocks ?? []) {
      if (!wanted(block)) continue;
      if (content.kind === BlockKind.data && crc32(content.bytes) !== content.crc) {
        throw new DroverError('corrupt', `block ${block} of the source is corrupt`);
      }
      blocks.set(block, content);
      if (content.kind === BlockKind.data) receivedBytes += BLOCK_BYTES;
    }
    if (this.isFull && receivedBytes > 0) throw new DroverError('outOfSpace', 'full');
    this.#content.batchSeq += 1;
    const object = this.#makeObject(request);
    object.version = request.version;
    if (request.delta === undefined) object.blocks.clear();
    for (const [block, content] of blocks) object.blocks.set(block, content);
    this.receivedBytes += receivedBytes;
    return { receivedBytes };
  }

  install(request: InstallRequest): void {
    throw new DroverError('invalid', `object ${request.objectIndex}: replication copies instead`);
  }

  repair(request: RepairRequest): void {
    this.#checkEpoch(request);
    if (compareVersions(this.#versionOf(request), request.version) !== 0) {
      throw new DroverError('conflict', 'the object has moved on');
    }
    this.#content.batchSeq += 1;
    const blocks = this.object(request)!.blocks;
    const bytes = Buffer.concat(request.payload);
    for (let at = 0; at < request.blockCrcs.length; at++) {
      const block = Buffer.from(bytes.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES));
      const crc = request.blockCrcs[at]!;
      if (crc32(block) !== crc) throw new DroverError('corrupt', 'the repair is corrupt');
      blocks.set(request.startBlock + at, { kind: BlockKind.data, crc, bytes: block });
    }
  }

  space(): NodeSpace {
    return { capacityBytes: 1e12, liveBytes: 0, freeBytes: this.isFull ? 0 : 1e12, objectCount: 0 };
  }

  #versionOf({ layerId, objectIndex }: ObjectKey): Version {
    return this.object({ layerId, objectIndex })?.version ?? VERSION_NONE;
  }

  #makeObject({ layerId, objectIndex }: ObjectKey): SimObject {
    const layer = this.layer(layerId);
    this.#content.layers.set(layerId, layer);
    const object = layer.get(objectIndex) ?? { version: VERSION_NONE, blocks: new Map() };
    layer.set(objectIndex, object);
    return object;
  }

  #checkEpoch({ volumeId, epoch }: LeaseScope): void {
    if (epoch < this.epochOf(volumeId)) throw new DroverError('fenced', 'a higher epoch was told');
  }
}

/** The blocks that a write leaves; its payload is checked as a node that is reached by network does. */
function blocksOfWrite(request: WriteRequest, isChecked: boolean): Map<number, SimBlock> {
  const bytes = Buffer.concat(request.payload);
  const blocks = new Map<number, SimBlock>();
  let at = 0;
  for (const { startBlock, blockCount, kind } of request.extents) {
    for (let block = startBlock; block < startBlock + blockCount; block++) {
      if (kind !== BlockKind.data) {
        blocks.set(block, { kind, crc: 0, bytes: Buffer.alloc(0) });
        continue;
      }
      const content = Buffer.from(bytes.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES));
      const crc = request.blockCrcs[at]!;
      if (isChecked && crc32(content) !== crc) {
        throw new DroverError('corrupt', `block ${block} is corrupt`);
      }
      blocks.set(block, { kind, crc, bytes: content });
      at += 1;
    }
  }
  return blocks;
}
