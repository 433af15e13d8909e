/**
 * One attached volume, shared by all its connections: byte ranges of the disk → ranges of objects.
 *
 * Owns: the translation, the volume's cache mode and its read-ahead. Does not own: attaching and
 * detaching (the registry), the blocks (`server/cache`).
 * Invariants: a range passed on lies in one object; blocks that a trim covers in part are written,
 * the others change state.
 */

import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { ObjectStore } from '../../store/replication/object-store.ts';
import type { Clock } from '../../store/runtime/clock.ts';
import { BlockState } from '../cache/block-states.ts';
import type { CachedVolume } from '../cache/cached-volume.ts';
import { blocksOf, fetchAhead, prefetch } from '../cache/fetching.ts';
import type { ObjectCache } from '../cache/object-cache.ts';
import { ReadAhead } from '../cache/read-ahead.ts';
import { storedKinds } from '../cache/stored-kinds.ts';
import { AllocationRuns } from './allocation-runs.ts';
import type { AllocationRun, BlockDevice, ByteRun } from './block-device.ts';
import { VolumeDevice } from './volume-device.ts';

/**
 * - `writeback`: a write is answered when it is in the cache
 * - `writethrough`: a write is answered when it is durable
 * - `none`: the same, and neither reads nor writes stay in the cache
 */
export type CacheMode = 'writeback' | 'writethrough' | 'none';

export interface AttachedVolumeOptions {
  readonly name: string;
  readonly sizeBytes: number;
  readonly objectStore: ObjectStore;
  readonly cache: ObjectCache;
  readonly clock: Clock;
  readonly isReadOnly?: boolean;
  readonly cacheMode?: CacheMode;
}

/** Objects that a trim of unwritten space looks at before it lets others run. */
const OBJECTS_PER_TURN = 4096;

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);

export class AttachedVolume {
  readonly name: string;
  /** May be changed while attached; a write is handled as it was when it came. */
  cacheMode: CacheMode;
  readonly #clock: Clock;
  readonly #objectBytes: number;
  readonly #objects: CachedVolume;
  readonly #readAhead: ReadAhead;
  readonly #prefetchBytesMax: number;
  #sizeBytes: number;
  #isReadOnly: boolean;

  constructor(options: AttachedVolumeOptions) {
    const { cache } = options;
    this.name = options.name;
    this.#isReadOnly = options.isReadOnly ?? false;
    this.cacheMode = options.cacheMode ?? 'writeback';
    this.#sizeBytes = options.sizeBytes;
    this.#clock = options.clock;
    this.#objectBytes = options.objectStore.objectBytes;
    this.#objects = cache.attach(options.objectStore);
    this.#prefetchBytesMax = cache.cacheBytes / 2;
    this.#readAhead = new ReadAhead(cache.limits, cache.stats, (offset, end) =>
      this.#fetchAhead(offset, end),
    );
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get isReadOnly(): boolean {
    return this.#isReadOnly;
  }

  /** Bytes written and not durable yet. */
  get dirtyBytes(): number {
    return this.#objects.dirtySlots * BLOCK_BYTES;
  }

  /** How long the oldest of them has been so, in milliseconds; 0 if there is none. */
  oldestDirtyMs(): number {
    return this.#objects.oldestDirtyMs();
  }

  /** A handle for one user, with the size of now; `onClose` is called when it is closed. */
  openDevice(onClose?: () => Promise<void>): BlockDevice {
    return new VolumeDevice(this, onClose);
  }

  /** Devices opened from now on see the new size and access. */
  follow({ sizeBytes, isReadOnly }: { sizeBytes: number; isReadOnly: boolean }): void {
    this.#sizeBytes = Math.max(this.#sizeBytes, sizeBytes);
    this.#isReadOnly = isReadOnly;
  }

  /** Hot path. As in `BlockDevice`, and the following ones too. */
  tryRunBytes(offset: number, lengthBytes: number): number {
    const objectBytes = this.#objectBytes;
    let run = 0;
    for (let at = offset; at < offset + lengthBytes; ) {
      const index = Math.floor(at / objectBytes);
      const start = at - index * objectBytes;
      const bytes = Math.min(objectBytes - start, offset + lengthBytes - at);
      const piece = this.#objects.runBytes(index, start, bytes);
      if (piece === 0 || (run !== 0 && piece < 0 !== run < 0)) return run;
      run += piece;
      at += Math.abs(piece);
      if (Math.abs(piece) < bytes) return run;
    }
    return run;
  }

  /** Hot path. */
  tryRead(offset: number, lengthBytes: number, target: Buffer, targetStart: number): boolean {
    const objectBytes = this.#objectBytes;
    const index = Math.floor(offset / objectBytes);
    const start = offset - index * objectBytes;
    if (start + lengthBytes > objectBytes) {
      return this.#tryReadSpan(offset, lengthBytes, target, targetStart);
    }
    if (!this.#objects.isResident(index, start, lengthBytes)) return false;
    this.#objects.copyOut(index, start, lengthBytes, target, targetStart);
    this.#readAhead.advance(offset, lengthBytes);
    return true;
  }

  #tryReadSpan(offset: number, lengthBytes: number, target: Buffer, targetStart: number): boolean {
    for (const { index, start, bytes } of this.#pieces(offset, lengthBytes)) {
      if (!this.#objects.isResident(index, start, bytes)) return false;
    }
    for (const { index, start, bytes, at } of this.#pieces(offset, lengthBytes)) {
      this.#objects.copyOut(index, start, bytes, target, targetStart + at);
    }
    this.#readAhead.advance(offset, lengthBytes);
    return true;
  }

  /** Hot path. A write that spans objects takes the way with a promise: it is rare and large. */
  tryWrite(offset: number, lengthBytes: number, source: Buffer, sourceStart: number): boolean {
    const objectBytes = this.#objectBytes;
    const index = Math.floor(offset / objectBytes);
    const start = offset - index * objectBytes;
    if (start + lengthBytes > objectBytes || this.cacheMode !== 'writeback') return false;
    return this.#objects.tryWrite(index, start, lengthBytes, source, sourceStart);
  }

  async read(offset: number, target: Buffer): Promise<readonly ByteRun[]> {
    const reading = this.#readRange(offset, target);
    this.#readAhead.missed(offset, target.length);
    const runs = await reading;
    if (this.cacheMode === 'none') this.#forget(offset, target.length);
    return runs;
  }

  async #readRange(offset: number, target: Buffer): Promise<readonly ByteRun[]> {
    const runs: ByteRun[] = [];
    let runBytes = 0;
    let runIsZero = false;
    const endRun = () => {
      if (runBytes > 0) runs.push({ lengthBytes: runBytes, isZero: runIsZero });
      runBytes = 0;
    };
    const onRun = (bytes: number, isZero: boolean) => {
      if (isZero !== runIsZero) endRun();
      runIsZero = isZero;
      runBytes += bytes;
    };
    for (const { index, start, bytes, at } of this.#pieces(offset, target.length)) {
      await this.#objects.read(index, start, bytes, target, at, onRun);
    }
    endRun();
    return runs;
  }

  async write(offset: number, source: Buffer): Promise<void> {
    const mode = this.cacheMode;
    for (const { index, start, bytes, at } of this.#pieces(offset, source.length)) {
      await this.#objects.write(index, start, bytes, source, at);
    }
    await this.#afterWrite(mode, offset, source.length);
  }

  async #afterWrite(mode: CacheMode, offset: number, lengthBytes: number): Promise<void> {
    if (mode === 'writeback') return;
    await this.flushRange(offset, lengthBytes);
    if (mode === 'none') this.#forget(offset, lengthBytes);
  }

  flush(): Promise<void> {
    return this.#objects.flush();
  }

  flushRange(offset: number, lengthBytes: number): Promise<void> {
    const first = Math.floor(offset / this.#objectBytes);
    const last = Math.floor((offset + lengthBytes - 1) / this.#objectBytes);
    return this.#objects.flushObjects(first, last);
  }

  trim(offset: number, lengthBytes: number): Promise<void> {
    return this.#zero(offset, lengthBytes, BlockState.dirtyHole);
  }

  writeZeroes(offset: number, lengthBytes: number, mayPunchHole: boolean): Promise<void> {
    const target = mayPunchHole ? BlockState.dirtyHole : BlockState.dirtyZero;
    return this.#zero(offset, lengthBytes, target);
  }

  async #zero(
    offset: number,
    lengthBytes: number,
    target: typeof BlockState.dirtyHole | typeof BlockState.dirtyZero,
  ): Promise<void> {
    this.#objects.checkOpen();
    const mode = this.cacheMode;
    const end = offset + lengthBytes;
    // Nobody sees the rest of the block in which the volume ends.
    const isToEnd = end >= this.#sizeBytes;
    const wholeStart = Math.ceil(offset / BLOCK_BYTES) * BLOCK_BYTES;
    const wholeEnd = (isToEnd ? Math.ceil : Math.floor)(end / BLOCK_BYTES) * BLOCK_BYTES;
    if (wholeStart >= wholeEnd) {
      await this.#zeroPart(offset, end);
    } else {
      await this.#zeroPart(offset, wholeStart);
      await this.#zeroWhole(wholeStart, wholeEnd, target);
      await this.#zeroPart(Math.min(wholeEnd, end), end);
    }
    await this.#afterWrite(mode, offset, lengthBytes);
  }

  async #zeroWhole(
    wholeStart: number,
    wholeEnd: number,
    target: typeof BlockState.dirtyHole | typeof BlockState.dirtyZero,
  ): Promise<void> {
    let objectsSeen = 0;
    for (const { index, start, bytes } of this.#pieces(wholeStart, wholeEnd - wholeStart)) {
      objectsSeen += 1;
      if (objectsSeen % OBJECTS_PER_TURN === 0) await this.#nextTurn();
      if (target === BlockState.dirtyHole && this.#objects.isNeverWritten(index)) continue;
      const { first, last } = blocksOf(start, bytes);
      await this.#objects.zero(index, first, last, target);
    }
  }

  /** Writes zeros to a range within one or two blocks, unless it holds nothing else. */
  async #zeroPart(start: number, end: number): Promise<void> {
    for (let at = start; at < end; ) {
      const next = Math.min(end, at - (at % BLOCK_BYTES) + BLOCK_BYTES);
      if (this.tryRunBytes(at, next - at) !== at - next) {
        const index = Math.floor(at / this.#objectBytes);
        const startInObject = at - index * this.#objectBytes;
        await this.#objects.write(index, startInObject, next - at, ZERO_BLOCK, 0);
      }
      at = next;
    }
  }

  #nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#clock.endOfTurn(resolve));
  }

  async prefetch(offset: number, lengthBytes: number): Promise<void> {
    const bytesMax = Math.min(lengthBytes, this.#prefetchBytesMax);
    for (const { index, start, bytes } of this.#pieces(offset, bytesMax)) {
      if (!(await prefetch(this.#objects, index, blocksOf(start, bytes)))) return;
    }
  }

  async allocation(offset: number, lengthBytes: number, runsMax: number): Promise<AllocationRun[]> {
    this.#objects.checkOpen();
    const runs = new AllocationRuns(runsMax);
    let objectsSeen = 0;
    for (const { index, start, bytes } of this.#pieces(offset, lengthBytes)) {
      objectsSeen += 1;
      if (objectsSeen % OBJECTS_PER_TURN === 0) await this.#nextTurn();
      if (this.#objects.isNeverWritten(index)) {
        runs.addHole(bytes);
      } else {
        const kinds = await storedKinds(this.#objects, index, blocksOf(start, bytes));
        runs.addBlocks(kinds, start % BLOCK_BYTES, bytes);
      }
      if (runs.isFull) break;
    }
    return runs.take();
  }

  /** Makes everything durable and leaves the cache. Errors: as `flush`; it has left nevertheless. */
  close(): Promise<void> {
    return this.#objects.close();
  }

  /** Leaves the cache without writing; resolves when no transfer of it is under way any more. */
  discard(): Promise<void> {
    return this.#objects.discard();
  }

  #fetchAhead(offset: number, end: number): { reached: number; blocks: number } {
    let blocks = 0;
    let reached = offset;
    const bytes = Math.min(end, this.#sizeBytes) - offset;
    for (const { index, start, bytes: pieceBytes } of this.#pieces(offset, bytes)) {
      const started = fetchAhead(this.#objects, index, blocksOf(start, pieceBytes));
      if (started < 0) break;
      blocks += started;
      reached += pieceBytes;
    }
    return { reached, blocks };
  }

  #forget(offset: number, lengthBytes: number): void {
    for (const { index, start, bytes } of this.#pieces(offset, lengthBytes)) {
      const { first, last } = blocksOf(start, bytes);
      this.#objects.forget(index, first, last);
    }
  }

  /** The parts of a range by object; `at` counts from the start of the range. */
  *#pieces(
    offset: number,
    lengthBytes: number,
  ): Generator<{ index: number; start: number; bytes: number; at: number }> {
    for (let at = 0; at < lengthBytes; ) {
      const index = Math.floor((offset + at) / this.#objectBytes);
      const start = offset + at - index * this.#objectBytes;
      const bytes = Math.min(this.#objectBytes - start, lengthBytes - at);
      yield { index, start, bytes, at };
      at += bytes;
    }
  }
}
