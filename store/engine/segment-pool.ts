/**
 * The files of the log: which segments there are, and where the next one comes from.
 *
 * Owns: the directory `segments`, the ids, and room. One segment is kept *ready* (its header
 * durable under its own id, so that the log goes on without a pause) and one *spare* file filled
 * with zeros (a synced write into allocated space takes half the time). Files of freed segments
 * become spares. A writer that outruns the preparation gets a file without zeros.
 * Does not own: what is in segments, or who may use the last of them (space-budget.ts).
 * Invariants: ids are handed out in the order of use and never again (`#stamping` sees to that);
 * a file has a segment's name only while its header says the same, because a freed segment is
 * renamed, durably, before its header is overwritten.
 */
import { join } from 'node:path';
import { Mutex } from 'async-mutex';
import { BLOCK_BYTES } from '../geometry.ts';
import { alignedBuffer } from '../runtime/aligned-buffer.ts';
import type { Disk, DiskFile } from '../runtime/disk.ts';
import { DroverError } from '../runtime/drover-error.ts';
import type { Random } from '../runtime/random.ts';
import type { EngineLog } from './engine-log.ts';
import type { EngineLimits } from './limits.ts';
import {
  encodeSegmentHeader,
  isSpareName,
  NONCE_BYTES,
  segmentIdOf,
  segmentName,
  spareName,
} from './segment-header.ts';

/** A segment that the log can write to; its file is durable. */
export interface LogSegment {
  readonly segmentId: number;
  readonly nonce: Buffer;
  readonly file: DiskFile;
  /** Bytes from the start that the filesystem has given it; those behind take room when written. */
  readonly allocatedBytes: number;
}

export interface SegmentPoolOptions {
  readonly disk: Disk;
  /** The directory `segments`. */
  readonly directory: string;
  readonly random: Random;
  readonly nodeId: string;
  readonly limits: EngineLimits;
  readonly capacityBytes: number;
  readonly log: EngineLog;
}

const FILL_BYTES = 1024 * 1024;
/** Spares are filled up to this … */
const SPARES_FILLED = 1;
/** … and freed segments are kept up to this. */
const SPARES_KEPT = 4;

export function isNoSpace(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export class SegmentPool {
  /** Every segment with a name: those in use and the ready one. */
  readonly segmentIds = new Set<number>();
  nextSegmentId = 1;
  readonly #options: SegmentPoolOptions;
  readonly #stamping = new Mutex();
  #ready: LogSegment | undefined;
  readonly #spares: string[] = [];
  #nextSpare = 1;
  /** Room for more segments: what is free, less what files that are there will still take. */
  #unclaimedBytes = 0;
  #filesystemTotalBytes = 0;
  /** What the spare that is being filled will still take; `undefined` if none is. */
  #fillingBytes: number | undefined;
  #zeros: Buffer | undefined;
  #preparing: Promise<void> | undefined;
  #isClosed = false;
  /** What the segment that the log is in will still take of the filesystem. */
  logGrowthBytes: () => number = () => 0;

  constructor(options: SegmentPoolOptions) {
    this.#options = options;
  }

  /** Reads the directory; a spare that was not filled to its end is removed. */
  async open(): Promise<void> {
    const { disk, directory, limits } = this.#options;
    for (const name of await disk.list(directory)) {
      const segmentId = segmentIdOf(name);
      if (segmentId !== undefined) {
        this.segmentIds.add(segmentId);
        this.nextSegmentId = Math.max(this.nextSegmentId, segmentId + 1);
      } else if (isSpareName(name)) {
        this.#nextSpare = Math.max(this.#nextSpare, Number.parseInt(name, 10) + 1);
        if ((await this.#sizeOf(name)) === limits.segmentBytes) this.#spares.push(name);
        else await disk.remove(join(directory, name));
      }
    }
    await this.refreshSpace();
  }

  /** For a new directory: the first segment is worth filling before anybody writes to it. */
  async fillFirst(): Promise<void> {
    if (this.#spares.length === 0 && this.#allocatable() > 0) await this.#fillSpare();
  }

  path(segmentId: number): string {
    return join(this.#options.directory, segmentName(segmentId));
  }

  /** Segments that can still be had. */
  get freeSegments(): number {
    return (this.#ready === undefined ? 0 : 1) + this.#spares.length + this.#allocatable();
  }

  get spareSegments(): number {
    return this.#spares.length + (this.#ready === undefined ? 0 : 1);
  }

  /** Segments that hold records. */
  get usedSegments(): number {
    return this.segmentIds.size - (this.#ready === undefined ? 0 : 1);
  }

  /** All that this node may have: those in use and those that can still be had, now or soon. */
  get capacitySegments(): number {
    return this.usedSegments + this.freeSegments + (this.#fillingBytes === undefined ? 0 : 1);
  }

  isReady(segmentId: number): boolean {
    return this.#ready?.segmentId === segmentId;
  }

  async refreshSpace(): Promise<void> {
    // Asked before: what is written meanwhile counts twice rather than not at all.
    const growthBytes = this.logGrowthBytes() + (this.#fillingBytes ?? 0);
    const space = await this.#options.disk.space(this.#options.directory);
    this.#unclaimedBytes = space.freeBytes - growthBytes;
    this.#filesystemTotalBytes = space.totalBytes;
  }

  get filesystemTotalBytes(): number {
    return this.#filesystemTotalBytes;
  }

  /** The ready segment, if there is one. */
  takeReady(): LogSegment | undefined {
    const ready = this.#ready;
    this.#ready = undefined;
    return ready;
  }

  /** The next segment, made now if none is ready. Error: `outOfSpace`, or the disk's. */
  take(): Promise<LogSegment> {
    return this.#stamping.runExclusive(async () => this.takeReady() ?? (await this.#stamp(true)));
  }

  /**
   * Starts to make ready what is missing, in the background. `mayFill` is false for a writer of
   * large batches: they gain nothing from zeros, which cost as many bytes again.
   */
  prepare(mayFill: boolean): void {
    if (this.#preparing !== undefined || this.#isClosed) return;
    this.#preparing = this.#prepare(mayFill)
      .catch((error: unknown) => {
        // The log meets the same error when it needs the segment, and deals with it.
        this.#options.log.warn(`preparing a segment failed: ${String(error)}`);
      })
      .finally(() => {
        this.#preparing = undefined;
      });
  }

  /** Resolves when nothing is being made ready any more. */
  async prepared(): Promise<void> {
    await this.#preparing;
  }

  /** Makes a segment's file a spare, or removes it. Nobody reads or needs it any more. */
  async recycle(segmentId: number): Promise<void> {
    const { disk, directory, limits } = this.#options;
    const path = this.path(segmentId);
    const isWhole = (await this.#sizeOf(segmentName(segmentId))) === limits.segmentBytes;
    this.segmentIds.delete(segmentId);
    if (isWhole && this.#spares.length < SPARES_KEPT) {
      const name = spareName(this.#nextSpare++);
      await disk.rename(path, join(directory, name));
      await disk.syncDirectory(directory);
      this.#spares.push(name);
    } else {
      await disk.remove(path);
      await disk.syncDirectory(directory);
      await this.refreshSpace();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#preparing;
    await this.#ready?.file.close();
  }

  #allocatable(): number {
    const { limits, capacityBytes } = this.#options;
    const byLimit = Math.floor(capacityBytes / limits.segmentBytes) - this.#files();
    const unclaimedBytes = this.#unclaimedBytes - limits.indexSpaceBytes;
    return Math.max(0, Math.min(byLimit, Math.floor(unclaimedBytes / limits.segmentBytes)));
  }

  #files(): number {
    const filling = this.#fillingBytes === undefined ? 0 : 1;
    return this.segmentIds.size + this.#spares.length + filling;
  }

  async #prepare(mayFill: boolean): Promise<void> {
    await this.refreshSpace();
    while (!this.#isClosed) {
      if (this.#ready === undefined && this.#spares.length > 0) {
        await this.#stamping.runExclusive(async () => {
          if (this.#ready === undefined && this.#spares.length > 0) {
            this.#ready = await this.#stamp(false);
          }
        });
      } else if (mayFill && this.spareSegments <= SPARES_FILLED && this.#allocatable() > 0) {
        if (!(await this.#fillSpare())) return;
      } else {
        return;
      }
    }
  }

  /** Gives a spare file (or, if `mayCreate`, a new one) the next id. Holds `#stamping`. */
  async #stamp(mayCreate: boolean): Promise<LogSegment> {
    const { disk, directory, limits, nodeId, random } = this.#options;
    if (this.#spares.length === 0 && (!mayCreate || this.#allocatable() === 0)) {
      await this.refreshSpace();
      if (!mayCreate || this.#allocatable() === 0) {
        throw new DroverError('outOfSpace', 'no room for another segment');
      }
    }
    const spare = this.#spares.shift();
    const name = spare ?? spareName(this.#nextSpare++);
    const segmentId = this.nextSegmentId++;
    const nonce = random.bytes(NONCE_BYTES);
    const file = await disk.open(join(directory, name), { create: true, durable: true });
    try {
      const header = { segmentId, nonce, nodeId, segmentBytes: limits.segmentBytes };
      await file.write([encodeSegmentHeader(header)], 0);
      await disk.rename(join(directory, name), this.path(segmentId));
      await disk.syncDirectory(directory);
    } catch (error) {
      await file.close();
      if (!isNoSpace(error)) throw error;
      await disk.remove(join(directory, name));
      await this.refreshSpace();
      throw new DroverError('outOfSpace', 'the filesystem is full', error);
    }
    this.segmentIds.add(segmentId);
    if (spare !== undefined) return { segmentId, nonce, file, allocatedBytes: limits.segmentBytes };
    this.#unclaimedBytes -= limits.segmentBytes;
    return { segmentId, nonce, file, allocatedBytes: 0 };
  }

  /** False if the filesystem has no room for it. */
  async #fillSpare(): Promise<boolean> {
    const { disk, directory, limits } = this.#options;
    const name = spareName(this.#nextSpare++);
    const path = join(directory, name);
    this.#zeros ??= alignedBuffer(Math.min(FILL_BYTES, limits.segmentBytes)).fill(0);
    const zeros = this.#zeros;
    const file = await disk.open(path, { create: true, durable: true });
    this.#unclaimedBytes -= limits.segmentBytes;
    this.#fillingBytes = limits.segmentBytes;
    let isFilled = false;
    try {
      while (this.#fillingBytes > 0 && !this.#isClosed) {
        // A little at a time: one sync of a whole segment would hold up the log's for as long.
        await file.write([zeros], limits.segmentBytes - this.#fillingBytes);
        this.#fillingBytes -= zeros.length;
      }
    } catch (error) {
      if (!isNoSpace(error)) throw error;
    } finally {
      isFilled = this.#fillingBytes === 0;
      this.#fillingBytes = undefined;
      if (isFilled) this.#spares.push(name);
      await file.close();
      if (!isFilled) await disk.remove(path);
      await this.refreshSpace();
    }
    return isFilled;
  }

  async #sizeOf(name: string): Promise<number> {
    const path = join(this.#options.directory, name);
    const file = await this.#options.disk.open(path, { readOnly: true });
    try {
      return await file.sizeBytes();
    } finally {
      await file.close();
    }
  }
}

/** Blocks of a segment that batches can use. */
export function usableBlocks(limits: EngineLimits): number {
  return limits.segmentBytes / BLOCK_BYTES - 1;
}
