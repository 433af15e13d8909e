/**
 * One volume's objects in the cache: what a volume asks of it, object by object.
 *
 * Owns: the volume's life in the cache, and the ways of its requests that cannot be done at once.
 * Does not own: how they wait (`fetching.ts`, `waiting-write.ts`, `volume-flushes.ts`),
 * byte ranges that span objects (`server/volume`).
 * Invariants: a request waits for room or admission without holding what another one waits for; a
 * pin is held only while a read of the store is in progress.
 *
 * `start` and `bytes` count from the start of the object, block numbers too.
 */
import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { ObjectStore } from '../../store/replication/object-store.ts';
import { type DroverError, isDroverError } from '../../store/runtime/drover-error.ts';
import { BlockState } from './block-states.ts';
import { DirtyList } from './dirty-list.ts';
import { forgetClean } from './eviction.ts';
import { blocksOf, detachedError, fetchMissing } from './fetching.ts';
import { EVICT_OBJECTS_TRIED_MAX } from './limits.ts';
import type { ObjectCache } from './object-cache.ts';
import {
  copyOut,
  isResident,
  runBytes,
  WriteOutcome,
  WriteRight,
  writeResident,
} from './resident-io.ts';
import { VolumeFlushes } from './volume-flushes.ts';
import { writeWaiting } from './waiting-write.ts';
import { pagesForZeroing, type ZeroState, zeroBlocks } from './zeroing.ts';

export class CachedVolume {
  readonly cache: ObjectCache;
  /** Its part of the cache keys. */
  readonly keySlot: number;
  readonly store: ObjectStore;
  readonly dirty = new DirtyList();
  readonly flushes: VolumeFlushes;
  dirtySlots = 0;
  dirtyObjects = 0;
  /** Of its writes that are under way to the store. */
  bytesInFlight = 0;

  /** The drainer leaves the volume alone until then; 0 if its last write succeeded. */
  retryAtMs = 0;
  /** A write failed and not everything has been written since. */
  isRecovering = false;
  /** Why its last write found no room in the store; `undefined` if it did. */
  spaceError: DroverError | undefined;
  #retryDelayMs = 0;
  #isClosed = false;
  #transfers = 0;
  readonly #onIdle: (() => void)[] = [];

  constructor(cache: ObjectCache, keySlot: number, store: ObjectStore) {
    this.cache = cache;
    this.keySlot = keySlot;
    this.store = store;
    this.flushes = new VolumeFlushes(this);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Hot path. True if the range can be read without waiting. */
  isResident(objectIndex: number, start: number, bytes: number): boolean {
    const object = this.cache.find(this, objectIndex);
    if (object === undefined) return !this.#isClosed && !this.store.exists(objectIndex);
    return isResident(this.cache, object, start, bytes);
  }

  /** Hot path. Copies a range that is resident. */
  copyOut(
    objectIndex: number,
    start: number,
    bytes: number,
    target: Buffer,
    targetStart: number,
  ): void {
    const object = this.cache.find(this, objectIndex);
    if (object === undefined) target.fill(0, targetStart, targetStart + bytes);
    else copyOut(this.cache, object, start, bytes, target, targetStart);
  }

  /** Hot path. As `runBytes` of `resident-io.ts`. */
  runBytes(objectIndex: number, start: number, bytes: number): number {
    const object = this.cache.find(this, objectIndex);
    if (object === undefined) return this.isResident(objectIndex, start, bytes) ? -bytes : 0;
    return runBytes(this.cache, object, start, bytes);
  }

  /** Hot path. False if the write has to wait for something; then nothing has happened. */
  tryWrite(
    objectIndex: number,
    start: number,
    bytes: number,
    source: Buffer,
    sourceStart: number,
  ): boolean {
    const right = WriteRight.none;
    const outcome = this.#write(objectIndex, start, bytes, source, sourceStart, right);
    return outcome === WriteOutcome.done;
  }

  /** Hot path. */
  #write(
    objectIndex: number,
    start: number,
    bytes: number,
    source: Buffer,
    sourceStart: number,
    right: number,
  ): WriteOutcome {
    const { cache } = this;
    if (this.#isClosed) return WriteOutcome.needsRoom;
    const object =
      cache.find(this, objectIndex) ??
      cache.findOrCreate(this, objectIndex, EVICT_OBJECTS_TRIED_MAX);
    if (object === undefined) return WriteOutcome.needsRoom;
    const outcome = writeResident(cache, object, start, bytes, source, sourceStart, right);
    if (outcome === WriteOutcome.done) this.flushes.wrote();
    return outcome;
  }

  /**
   * Reads a range, fetching what is missing; `onRun` gets its runs, in order.
   * Errors: those of the store, `unavailable` after the volume was closed.
   */
  async read(
    objectIndex: number,
    start: number,
    bytes: number,
    target: Buffer,
    targetStart: number,
    onRun: (bytes: number, isZero: boolean) => void,
  ): Promise<void> {
    for (const piece of this.#pieces(start, bytes)) {
      const at = targetStart + piece.start - start;
      const copy = () => {
        this.copyOut(objectIndex, piece.start, piece.bytes, target, at);
        this.#tellRuns(objectIndex, piece.start, piece.bytes, onRun);
      };
      this.checkOpen();
      if (this.isResident(objectIndex, piece.start, piece.bytes)) copy();
      else await this.#readMissing(objectIndex, piece.start, piece.bytes, copy);
    }
  }

  async #readMissing(
    objectIndex: number,
    start: number,
    bytes: number,
    copy: () => void,
  ): Promise<void> {
    const { cache } = this;
    const range = blocksOf(start, bytes);
    for (let isDone = false; !isDone; ) {
      const object = await fetchMissing(this, objectIndex, range, [range]);
      try {
        // Not so where a block was trimmed and evicted, or the volume closed, at the last moment.
        isDone = isResident(cache, object, start, bytes);
        if (isDone) copy();
      } finally {
        cache.unpin(object);
      }
    }
  }

  #tellRuns(
    objectIndex: number,
    start: number,
    bytes: number,
    onRun: (bytes: number, isZero: boolean) => void,
  ): void {
    for (let at = start; at < start + bytes; ) {
      const run = this.runBytes(objectIndex, at, start + bytes - at);
      onRun(Math.abs(run), run < 0);
      at += Math.abs(run);
    }
  }

  /**
   * Writes a range, waiting for whatever it takes. Errors: those of the store when a partly
   * written block had to be fetched, `unavailable` after the volume was closed.
   */
  async write(
    objectIndex: number,
    start: number,
    bytes: number,
    source: Buffer,
    sourceStart: number,
  ): Promise<void> {
    for (const piece of this.#pieces(start, bytes)) {
      const at = sourceStart + piece.start - start;
      if (this.tryWrite(objectIndex, piece.start, piece.bytes, source, at)) continue;
      const attempt = (right: number) =>
        this.#write(objectIndex, piece.start, piece.bytes, source, at, right);
      await writeWaiting(this, objectIndex, piece, attempt);
    }
  }

  /** Cuts a range into pieces that are worked on one after another. */
  *#pieces(start: number, bytes: number): Generator<{ start: number; bytes: number }> {
    const end = start + bytes;
    const pieceBytes = this.cache.limits.segmentBlocksMax * BLOCK_BYTES;
    for (let at = start; at < end; ) {
      const limit = at - (at % BLOCK_BYTES) + pieceBytes;
      const next = Math.min(end, limit);
      yield { start: at, bytes: next - at };
      at = next;
    }
  }

  /** Makes whole blocks read as zeros. Waits only where the cache is full of what is dirty. */
  async zero(
    objectIndex: number,
    firstBlock: number,
    lastBlock: number,
    target: ZeroState,
  ): Promise<void> {
    const { cache } = this;
    this.checkOpen();
    if (this.#isNothing(objectIndex, target)) return;
    if (!cache.admission.admits(0)) {
      await cache.admission.wait(0, this);
      cache.admission.release(0);
    }
    const attempt = () => {
      if (this.#isClosed) return true;
      const object = cache.findOrCreate(this, objectIndex, cache.limits.objectsMax);
      if (object === undefined) return false;
      const pages = pagesForZeroing(cache, object, firstBlock, lastBlock);
      const tries = cache.limits.objectsMax;
      if (!cache.makeRoom(0, pages, object, firstBlock, lastBlock, tries)) return false;
      zeroBlocks(cache, object, firstBlock, lastBlock, target);
      return true;
    };
    if (cache.room.length > 0 || !attempt()) await cache.room.wait(attempt);
    this.checkOpen();
  }

  /** True if the object is not in the cache and never was anything but a hole. */
  isNeverWritten(objectIndex: number): boolean {
    return !this.store.exists(objectIndex) && this.cache.peek(this, objectIndex) === undefined;
  }

  #isNothing(objectIndex: number, target: ZeroState): boolean {
    return target === BlockState.dirtyHole && this.isNeverWritten(objectIndex);
  }

  /** As `VolumeFlushes.flush`; `unavailable` after the volume was closed. */
  flush(): Promise<void> {
    return this.#isClosed ? Promise.reject(detachedError()) : this.flushes.flush();
  }

  /** As `VolumeFlushes.flushObjects`; `unavailable` after the volume was closed. */
  flushObjects(firstIndex: number, lastIndex: number): Promise<void> {
    if (this.#isClosed) return Promise.reject(detachedError());
    return this.flushes.flushObjects(firstIndex, lastIndex);
  }

  /** Forgets the clean blocks of a range: they were used, and nothing is to stay. */
  forget(objectIndex: number, firstBlock: number, lastBlock: number): void {
    const object = this.cache.peek(this, objectIndex);
    if (object !== undefined) forgetClean(this.cache, object, firstBlock, lastBlock);
  }

  writeSucceeded(): void {
    this.retryAtMs = 0;
    this.spaceError = undefined;
    this.#retryDelayMs = 0;
    if (this.isRecovering && this.dirty.head === undefined) this.isRecovering = false;
  }

  writeFailed(error: unknown): void {
    const { retryMsMin, retryMsMax } = this.cache.limits;
    this.#retryDelayMs = Math.min(retryMsMax, Math.max(retryMsMin, this.#retryDelayMs * 2));
    this.retryAtMs = this.cache.clock.nowMs() + this.#retryDelayMs;
    this.isRecovering = true;
    this.spaceError = isDroverError(error, 'outOfSpace') ? error : undefined;
  }

  /** How long its oldest dirty block that is not on its way has been dirty; 0 if there is none. */
  oldestDirtyMs(): number {
    let sinceMs = Number.POSITIVE_INFINITY;
    for (const object of this.dirty) sinceMs = Math.min(sinceMs, object.dirtySinceMs);
    return Math.max(0, this.cache.clock.nowMs() - sinceMs);
  }

  /**
   * Makes everything durable and leaves the cache. Errors: as `flush`; it has left nevertheless, and
   * what was not durable is lost.
   */
  async close(): Promise<void> {
    try {
      while (this.dirtyObjects > 0) await this.flush();
    } finally {
      await this.discard();
    }
  }

  /**
   * Leaves the cache; what is dirty is lost, and whoever waits gets an error. Resolves when nothing
   * of the volume is under way to or from the store any more.
   */
  async discard(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.cache.dropAll(this);
      this.cache.volumes.delete(this);
      this.flushes.rounds.abandon(detachedError());
      this.cache.room.wake();
      this.cache.admission.serve();
    }
    while (this.#transfers > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  /** Counts what is under way to or from the store: 1 when it starts, -1 when it settled. */
  countTransfer(change: 1 | -1): void {
    this.#transfers += change;
    if (this.#transfers > 0) return;
    for (const tell of this.#onIdle.splice(0)) tell();
  }

  /** Error: `unavailable` after the volume was closed. */
  checkOpen(): void {
    if (this.#isClosed) throw detachedError();
  }
}
