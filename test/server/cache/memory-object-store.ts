/**
 * An object store in memory whose calls a test can hold back, let go in any order, or fail.
 *
 * It checks what the cache owes its store: one write in flight for each object, no read of blocks
 * that a write in flight changes, payload that does not change until the write settles, extents in
 * order and of the right length. A broken rule throws where the test sees it (`failures`).
 */
import { crc32 } from 'node:zlib';
import { BlockKind, type Extent } from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import type { ObjectStore } from '../../../store/replication/object-store.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';

export interface HeldCall {
  readonly kind: 'read' | 'write' | 'map';
  readonly objectIndex: number;
  readonly startBlock: number;
  readonly blockCount: number;
  readonly extents: readonly Extent[];
  /** Lets the call do its work, or fail with an error: of a write, some blocks may be new then. */
  settle(error?: DroverError): void;
}

interface StoredObject {
  readonly kinds: Uint8Array;
  readonly bytes: Buffer;
}

function checksumOf(buffers: readonly Buffer[]): number {
  return buffers.reduce((sum, buffer) => crc32(buffer, sum), 0);
}

export class MemoryObjectStore implements ObjectStore {
  readonly objectBytes: number;
  readonly blocks: number;
  /** Calls wait in `held` until the test settles them. */
  isHolding = false;
  readonly held: HeldCall[] = [];
  readonly writes: { readonly objectIndex: number; readonly extents: readonly Extent[] }[] = [];
  readonly reads: {
    readonly objectIndex: number;
    readonly startBlock: number;
    readonly blockCount: number;
  }[] = [];
  /** Rules that the cache broke. */
  readonly failures: string[] = [];
  readonly #objects = new Map<number, StoredObject>();
  readonly #writing = new Map<number, readonly Extent[]>();
  readonly #reading = new Set<{ objectIndex: number; startBlock: number; end: number }>();

  constructor(objectBytes: number) {
    this.objectBytes = objectBytes;
    this.blocks = objectBytes / BLOCK_BYTES;
  }

  exists(objectIndex: number): boolean {
    return this.#objects.has(objectIndex);
  }

  /** What a read of a stored block gives, zeros included. */
  block(objectIndex: number, block: number): Buffer {
    const stored = this.#objects.get(objectIndex);
    if (stored?.kinds[block] !== BlockKind.data) return Buffer.alloc(BLOCK_BYTES);
    return stored.bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  }

  kind(objectIndex: number, block: number): number {
    return this.#objects.get(objectIndex)?.kinds[block] ?? BlockKind.hole;
  }

  /** Puts data in the store behind the cache's back, before it is used. */
  fill(objectIndex: number, startBlock: number, bytes: Buffer): void {
    const blockCount = bytes.length / BLOCK_BYTES;
    this.#apply(
      objectIndex,
      [{ startBlock, blockCount, kind: BlockKind.data }],
      [bytes],
      () => true,
    );
  }

  async read(
    objectIndex: number,
    startBlock: number,
    into: readonly Buffer[],
  ): Promise<Uint8Array> {
    const blockCount = into.reduce((sum, buffer) => sum + buffer.length, 0) / BLOCK_BYTES;
    this.reads.push({ objectIndex, startBlock, blockCount });
    const end = startBlock + blockCount;
    const isWritten = (this.#writing.get(objectIndex) ?? []).some(
      (extent) => extent.startBlock < end && extent.startBlock + extent.blockCount > startBlock,
    );
    if (isWritten) this.failures.push(`a block of object ${objectIndex} is read while written`);
    const reading = { objectIndex, startBlock, end };
    this.#reading.add(reading);
    try {
      await this.#wait({ kind: 'read', objectIndex, startBlock, blockCount, extents: [] });
    } finally {
      this.#reading.delete(reading);
    }
    const kinds = new Uint8Array(blockCount);
    let block = startBlock;
    for (const buffer of into) {
      for (let at = 0; at < buffer.length; at += BLOCK_BYTES) {
        const kind = this.kind(objectIndex, block);
        kinds[block - startBlock] = kind;
        if (kind === BlockKind.data) this.block(objectIndex, block).copy(buffer, at);
        block += 1;
      }
    }
    return kinds;
  }

  async map(objectIndex: number): Promise<Uint8Array> {
    const { blocks } = this;
    await this.#wait({ kind: 'map', objectIndex, startBlock: 0, blockCount: blocks, extents: [] });
    return this.#objects.get(objectIndex)?.kinds.slice() ?? new Uint8Array(blocks);
  }

  async write(
    objectIndex: number,
    extents: readonly Extent[],
    payload: readonly Buffer[],
  ): Promise<void> {
    this.#checkWrite(objectIndex, extents, payload);
    this.writes.push({ objectIndex, extents });
    this.#writing.set(objectIndex, extents);
    const sum = checksumOf(payload);
    const startBlock = extents[0]!.startBlock;
    const blockCount = extents.at(-1)!.startBlock + extents.at(-1)!.blockCount - startBlock;
    try {
      await this.#wait({ kind: 'write', objectIndex, startBlock, blockCount, extents });
    } catch (error) {
      this.#apply(objectIndex, extents, payload, (block) => block % 2 === 0);
      throw error;
    } finally {
      if (checksumOf(payload) !== sum) {
        this.failures.push(`the payload of object ${objectIndex} changed in flight`);
      }
      this.#writing.delete(objectIndex);
    }
    this.#apply(objectIndex, extents, payload, () => true);
  }

  #checkWrite(objectIndex: number, extents: readonly Extent[], payload: readonly Buffer[]): void {
    if (this.#writing.has(objectIndex)) {
      this.failures.push(`object ${objectIndex} has two writes in flight`);
    }
    let end = 0;
    let dataBlocks = 0;
    for (const extent of extents) {
      for (const reading of this.#reading) {
        const isOther =
          reading.objectIndex !== objectIndex ||
          reading.end <= extent.startBlock ||
          reading.startBlock >= extent.startBlock + extent.blockCount;
        if (!isOther) this.failures.push(`a block of object ${objectIndex} is written while read`);
      }
      if (extent.startBlock < end || extent.blockCount < 1) this.failures.push('extents overlap');
      end = extent.startBlock + extent.blockCount;
      if (extent.kind === BlockKind.data) dataBlocks += extent.blockCount;
    }
    if (extents.length === 0 || end > this.blocks) this.failures.push('extents out of bounds');
    const payloadBytes = payload.reduce((total, buffer) => total + buffer.length, 0);
    if (payloadBytes !== dataBlocks * BLOCK_BYTES) this.failures.push('payload of a wrong length');
    if (payload.some((buffer) => buffer.length % BLOCK_BYTES !== 0)) {
      this.failures.push('a payload buffer that is not whole blocks');
    }
  }

  #wait(call: Omit<HeldCall, 'settle'>): Promise<void> {
    if (!this.isHolding) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const held: HeldCall = {
        ...call,
        settle: (error) => {
          this.held.splice(this.held.indexOf(held), 1);
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      this.held.push(held);
    });
  }

  /** Settles everything held, the oldest first. */
  settleAll(error?: DroverError): void {
    for (const call of [...this.held]) call.settle(error);
  }

  #apply(
    objectIndex: number,
    extents: readonly Extent[],
    payload: readonly Buffer[],
    isApplied: (block: number) => boolean,
  ): void {
    const bytes = Buffer.concat(payload);
    let at = 0;
    let stored = this.#objects.get(objectIndex);
    if (stored === undefined) {
      stored = { kinds: new Uint8Array(this.blocks), bytes: Buffer.alloc(this.objectBytes) };
      this.#objects.set(objectIndex, stored);
    }
    for (const { startBlock, blockCount, kind } of extents) {
      for (let block = startBlock; block < startBlock + blockCount; block += 1) {
        if (isApplied(block)) {
          stored.kinds[block] = kind;
          if (kind === BlockKind.data)
            bytes.copy(stored.bytes, block * BLOCK_BYTES, at, at + BLOCK_BYTES);
        }
        if (kind === BlockKind.data) at += BLOCK_BYTES;
      }
    }
  }
}

export function storeError(): DroverError {
  return new DroverError('unavailable', 'the store fails because the test says so');
}
