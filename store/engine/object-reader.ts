/**
 * Reading: from an object's blocks to the places in segments where they lie.
 *
 * Owns: planning a read, and putting the bytes into the caller's buffers without a copy. Does not
 * own: comparing bytes with checksums, which is for whoever uses them.
 * Invariant: a segment is in use (it cannot be freed) from the moment its place was looked up until
 * the bytes have been read, so they are those of the version that was looked up.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import type { DiskFile } from '../runtime/disk.ts';
import { DroverError } from '../runtime/drover-error.ts';
import type { EngineStats } from './engine-stats.ts';
import { type ObjectEntry, SEGMENT_HOLE, SEGMENT_ZERO } from './object-entry.ts';
import type { SegmentReaders } from './segment-readers.ts';
import { BlockKind, type ReadResult } from './store-node.ts';

/** Blocks that follow one another both in the object and in a segment. */
export interface ReadRun {
  readonly segmentId: number;
  readonly position: number;
  /** Counted from the first block asked for. */
  readonly firstBlock: number;
  blockCount: number;
}

export interface ReadPlan extends ReadResult {
  readonly runs: readonly ReadRun[];
}

/** Hot path. Where each block of a range is; all holes for an object that does not exist. */
export function planRead(
  entry: ObjectEntry | undefined,
  startBlock: number,
  blockCount: number,
): ReadPlan {
  const kinds = new Uint8Array(blockCount);
  const blockCrcs = new Uint32Array(blockCount);
  const runs: ReadRun[] = [];
  if (entry === undefined) return { kinds, blockCrcs, runs };
  const known = Math.min(blockCount, entry.tableBlocks - startBlock);
  let last: ReadRun | undefined;
  for (let i = 0; i < known; i += 1) {
    const block = startBlock + i;
    const segmentId = entry.segmentAt(block);
    if (segmentId === SEGMENT_HOLE || segmentId === SEGMENT_ZERO) {
      kinds[i] = segmentId === SEGMENT_ZERO ? BlockKind.zero : BlockKind.hole;
      last = undefined;
      continue;
    }
    kinds[i] = BlockKind.data;
    blockCrcs[i] = entry.crcAt(block);
    const position = entry.positionAt(block);
    if (last?.segmentId === segmentId && last.position + last.blockCount === position) {
      last.blockCount += 1;
    } else {
      last = { segmentId, position, firstBlock: i, blockCount: 1 };
      runs.push(last);
    }
  }
  return { kinds, blockCrcs, runs };
}

/** Hot path. The parts of `buffers` that hold `byteCount` bytes from `start` on. */
function partOf(buffers: readonly Buffer[], start: number, byteCount: number): readonly Buffer[] {
  const first = buffers[0];
  if (start === 0 && buffers.length === 1 && first?.length === byteCount) return buffers;
  const parts: Buffer[] = [];
  let skip = start;
  let left = byteCount;
  for (let i = 0; i < buffers.length && left > 0; i += 1) {
    const buffer = buffers[i]!;
    if (skip >= buffer.length) {
      skip -= buffer.length;
      continue;
    }
    const take = Math.min(buffer.length - skip, left);
    parts.push(skip === 0 && take === buffer.length ? buffer : buffer.subarray(skip, skip + take));
    left -= take;
    skip = 0;
  }
  return parts;
}

export class ObjectReader {
  readonly #readers: SegmentReaders;
  readonly #stats: EngineStats;

  constructor(readers: SegmentReaders, stats: EngineStats) {
    this.#readers = readers;
    this.#stats = stats;
  }

  /** Error: `corrupt` if a block cannot be read. */
  async read(plan: ReadPlan, into: readonly Buffer[]): Promise<void> {
    const { runs } = plan;
    this.#stats.reads += 1;
    if (runs.length === 1) {
      await this.#readRun(runs[0]!, into);
    } else if (runs.length > 1) {
      // Every run's segment is in use from here on, before the first wait.
      await settleAll(runs.map((run) => this.#readRun(run, into)));
    }
  }

  async #readRun(run: ReadRun, into: readonly Buffer[]): Promise<void> {
    const byteCount = run.blockCount * BLOCK_BYTES;
    const buffers = partOf(into, run.firstBlock * BLOCK_BYTES, byteCount);
    const acquired = this.#readers.acquire(run.segmentId);
    let file: DiskFile;
    try {
      file = acquired instanceof Promise ? await acquired : acquired;
    } catch (error) {
      throw unreadable(run, error);
    }
    try {
      const bytes = await file.read(buffers, run.position * BLOCK_BYTES);
      if (bytes !== byteCount) throw unreadable(run, undefined);
      this.#stats.readBytes += bytes;
    } catch (error) {
      throw unreadable(run, error);
    } finally {
      this.#readers.release(run.segmentId);
    }
  }
}

/** Waits for all, so that nobody writes into the buffers after the first error was told. */
async function settleAll(promises: Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

function unreadable(run: ReadRun, cause: unknown): DroverError {
  if (cause instanceof DroverError) return cause;
  return new DroverError(
    'corrupt',
    `segment ${run.segmentId} cannot be read at byte ${run.position * BLOCK_BYTES}`,
    cause,
  );
}
