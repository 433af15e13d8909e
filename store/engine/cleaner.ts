/**
 * Gives space back: moves the live blocks of segments that are mostly dead, and frees segments.
 *
 * Owns: choosing victims, moving, freeing; one segment at a time. Does not own: room
 * (space-budget.ts), files (segment-pool.ts).
 *
 * Why nothing is lost, whatever writes, checkpoints and reads go on meanwhile:
 * - A victim is older than the place of the last checkpoint, so replay never reads it, and nothing
 *   is written to it any more: its live blocks only become fewer.
 * - A live block is appended as a `relocate` record that names its source. When the record is
 *   durable, it moves the block only if the index still points to the source; a write that came
 *   first has taken the pointer away, one that comes later takes the new one. Replay does the same
 *   in the same order.
 * - A segment is freed when no block of it is live in memory. Memory is what replay would make of
 *   the disk, so nothing will point to the segment after a crash either; every relocation that
 *   emptied it was durable before it was applied.
 * - A read that looked a block up before it moved holds the segment (segment-readers.ts); freeing
 *   waits for it.
 * - A block that does not match its checksum stays where it is, and its segment with it: moving it
 *   would give bad bytes a second life with a good record. It is reported, and goes when repaired.
 *
 * Deadlock is ruled out by the reserve: see space-budget.ts.
 */
import { crc32 } from '@node-rs/crc32';
import { Mutex } from 'async-mutex';
import { BLOCK_BYTES } from '../geometry.ts';
import type { Disk } from '../runtime/disk.ts';
import type { EngineState } from './apply-record.ts';
import { BatchScanner, type ScannedBatch } from './batch-scanner.ts';
import type { EngineLog } from './engine-log.ts';
import type { EngineStats } from './engine-stats.ts';
import type { GroupCommit } from './group-commit.ts';
import type { EngineLimits } from './limits.ts';
import type { Pacer } from './pacer.ts';
import { RelocationBatch } from './relocation-batch.ts';
import { decodeSegmentHeader, FIRST_POSITION } from './segment-header.ts';
import { type SegmentPool, usableBlocks } from './segment-pool.ts';
import type { SegmentReaders } from './segment-readers.ts';
import type { SpaceBudget } from './space-budget.ts';
import { BlockKind } from './store-node.ts';

/** A stored block whose bytes do not match its checksum, or cannot be read. */
export interface BadBlock {
  readonly layerId: number;
  readonly objectIndex: number;
  readonly block: number;
}

export interface CleanerOptions {
  readonly state: EngineState;
  readonly log: GroupCommit;
  readonly pool: SegmentPool;
  readonly readers: SegmentReaders;
  readonly budget: SpaceBudget;
  readonly limits: EngineLimits;
  readonly pacer: Pacer;
  readonly disk: Disk;
  readonly stats: EngineStats;
  readonly engineLog: EngineLog;
  /** Replay starts in this segment, or a later one. */
  readonly replaySegmentId: () => number;
  readonly onBadBlock: (bad: BadBlock) => void;
}

export class Cleaner {
  readonly #options: CleanerOptions;
  /** Segments with a block that does not match its checksum. */
  readonly damagedSegments = new Set<number>();
  /** Live blocks that cleaning left in a segment; it is not tried again before they are fewer. */
  readonly #leftBlocks = new Map<number, number>();
  readonly #oneAtATime = new Mutex();

  constructor(options: CleanerOptions) {
    this.#options = options;
  }

  /** True if there is reason to move blocks. */
  get isNeeded(): boolean {
    const { budget, limits, pool } = this.#options;
    if (budget.isUrgent) return true;
    return (
      pool.usedSegments >= limits.relaxedSegmentsMin &&
      budget.liveBytes < budget.deadBytes * ratioOf(this.#unhurriedLiveRatio())
    );
  }

  /** Frees every segment without a live block; returns how many. */
  freeDead(): Promise<number> {
    return this.#oneAtATime.runExclusive(() => this.#freeDead());
  }

  async #freeDead(): Promise<number> {
    let freed = 0;
    for (const segmentId of this.#candidates()) {
      if (this.#options.pacer.isStopped) break;
      if (this.#options.state.index.live.of(segmentId) > 0) continue;
      await this.#free(segmentId);
      freed += 1;
    }
    return freed;
  }

  /**
   * Cleans the segment with the fewest live blocks, if that is worth it; false if there is none.
   * `isPaced` holds it to its rate while room is not short.
   * Errors: as a write's.
   */
  cleanOne(isPaced: boolean): Promise<boolean> {
    return this.#oneAtATime.runExclusive(() => this.#cleanOne(isPaced));
  }

  /** Resolves when nothing is being cleaned or freed. */
  idle(): Promise<void> {
    return this.#oneAtATime.waitForUnlock();
  }

  #victimLiveRatio(): number {
    const { log, budget, limits } = this.#options;
    if (log.hasBlockedWrites) return limits.blockedVictimLiveRatio;
    return budget.isUrgent ? limits.urgentVictimLiveRatio : this.#unhurriedLiveRatio();
  }

  #unhurriedLiveRatio(): number {
    const { budget, limits } = this.#options;
    return budget.isAmple ? limits.ampleVictimLiveRatio : limits.relaxedVictimLiveRatio;
  }

  async #cleanOne(isPaced: boolean): Promise<boolean> {
    if (this.#options.pacer.isStopped) return false;
    const { limits, state } = this.#options;
    let victim: number | undefined;
    let fewest = usableBlocks(limits) * this.#victimLiveRatio();
    for (const segmentId of this.#candidates()) {
      const live = state.index.live.of(segmentId);
      if (live > fewest || this.#leftBlocks.get(segmentId) === live) continue;
      fewest = live;
      victim = segmentId;
    }
    if (victim === undefined) return false;
    await this.#moveLive(victim, isPaced);
    const left = state.index.live.of(victim);
    if (left === 0) await this.#free(victim);
    else this.#leftBlocks.set(victim, left);
    return true;
  }

  /** Segments that nothing but reads may need. */
  #candidates(): number[] {
    const { pool, log, replaySegmentId } = this.#options;
    const below = Math.min(replaySegmentId(), log.place.segmentId);
    return [...pool.segmentIds].filter((segmentId) => segmentId < below);
  }

  async #free(segmentId: number): Promise<void> {
    const { readers, pool, stats, log } = this.#options;
    await readers.retire(segmentId);
    await pool.recycle(segmentId);
    this.damagedSegments.delete(segmentId);
    this.#leftBlocks.delete(segmentId);
    stats.segmentsFreed += 1;
    pool.prepare(false);
    log.wake();
  }

  async #moveLive(segmentId: number, isPaced: boolean): Promise<void> {
    const { disk, pool, limits } = this.#options;
    const file = await disk.open(pool.path(segmentId), { readOnly: true });
    try {
      const block = Buffer.alloc(BLOCK_BYTES);
      await file.read([block], 0);
      const header = decodeSegmentHeader(block);
      if (header?.segmentId !== segmentId) return;
      const blocks = limits.segmentBytes / BLOCK_BYTES;
      const scanner = new BatchScanner(file, header, blocks, limits.scanBytes);
      const moves = new RelocationBatch(limits.cleaningBytes);
      let batch = await scanner.batchAt(FIRST_POSITION);
      while (batch !== undefined && !this.#options.pacer.isStopped) {
        await this.#moveBatch(scanner, batch, moves, isPaced);
        batch = await scanner.batchAt(batch.endPosition);
      }
      await this.#submit(moves, isPaced);
    } finally {
      await file.close();
    }
  }

  async #moveBatch(
    scanner: BatchScanner,
    batch: ScannedBatch,
    moves: RelocationBatch,
    isPaced: boolean,
  ): Promise<void> {
    const { index } = this.#options.state;
    const { segmentId } = scanner.stamp;
    let position = batch.payloadPosition;
    for (const { layerId, objectIndex, extents, blockCrcs } of batch.records) {
      if (blockCrcs.length === 0) continue;
      for (const { startBlock, blockCount, kind } of extents) {
        if (kind !== BlockKind.data) continue;
        for (let block = startBlock; block < startBlock + blockCount; block += 1, position += 1) {
          const entry = index.find(layerId, objectIndex);
          if (entry === undefined || !entry.isAt(block, segmentId, position)) continue;
          const crc = entry.crcAt(block);
          const bytes = await scanner.block(position);
          if (bytes === undefined || crc32(bytes) !== crc) {
            this.#reportBad({ layerId, objectIndex, block }, segmentId);
            continue;
          }
          moves.add(layerId, objectIndex, block, { segmentId, position }, crc, bytes);
          if (moves.isFull) await this.#submit(moves, isPaced);
        }
      }
    }
  }

  #reportBad(bad: BadBlock, segmentId: number): void {
    this.damagedSegments.add(segmentId);
    this.#options.onBadBlock(bad);
    this.#options.engineLog.error(
      `block ${bad.block} of object ${bad.objectIndex} of layer ${bad.layerId} does not match its checksum (segment ${segmentId})`,
    );
  }

  async #submit(moves: RelocationBatch, isPaced: boolean): Promise<void> {
    if (moves.bytes === 0) return;
    const { state, log, stats, budget, pacer, limits } = this.#options;
    const records = moves.take(state.index);
    await Promise.all(
      records.map((record) => {
        const settled = record.settled();
        log.enqueue(record);
        return settled;
      }),
    );
    stats.cleaningBytes += moves.bytes;
    const movedBytes = moves.bytes;
    moves.clear();
    if (isPaced && !budget.isUrgent) {
      await pacer.pause(movedBytes, limits.cleaningBytesPerSecond);
    }
  }
}

/** live < dead * ratio holds where live is less than the given share of both. */
function ratioOf(liveShare: number): number {
  return liveShare / (1 - liveShare);
}
