/**
 * Who may use how much of the disk.
 *
 * Owns: the arithmetic. Does not own: segments (segment-pool.ts) or the queue.
 *
 * A write that takes space is refused when what is live, what is queued and the write itself are
 * more than cleaning could ever make room for: the capacity without the reserve, less a share that
 * stays dead so that every victim of cleaning gives something back. A write within that may have to
 * wait for cleaning, and gets its room. The reserve is for cleaning and for records without
 * payload: relocating a victim takes less than one segment, and gives one back.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import type { EngineLimits } from './limits.ts';
import type { LiveCounts } from './live-counts.ts';
import { type SegmentPool, usableBlocks } from './segment-pool.ts';

export class SpaceBudget {
  readonly #limits: EngineLimits;
  readonly #pool: SegmentPool;
  readonly #live: LiveCounts;
  /** Data blocks of writes that are queued or being written. */
  queuedBlocks = 0;

  constructor(limits: EngineLimits, pool: SegmentPool, live: LiveCounts) {
    this.#limits = limits;
    this.#pool = pool;
    this.#live = live;
  }

  /** Hot path. */
  hasRoomFor(dataBlocks: number): boolean {
    return this.#live.totalBlocks + this.queuedBlocks + dataBlocks <= this.writableBlocks;
  }

  /** Live blocks that there may be. */
  get writableBlocks(): number {
    const segments = this.#pool.capacitySegments - this.#limits.reserveSegments;
    if (segments <= 0) return 0;
    return Math.floor(
      segments * usableBlocks(this.#limits) * (1 - this.#limits.cleaningSlackRatio),
    );
  }

  /** True if the log may open another segment for a write that takes space. */
  get mayOpenSegment(): boolean {
    return this.#pool.freeSegments > this.#limits.reserveSegments;
  }

  /**
   * True if writes that take space may go into the segment that is open. One that was opened from
   * the reserve is for cleaning alone: writes that wait would fill it before the victim is moved,
   * and then nothing could be moved any more.
   */
  get mayFillSegment(): boolean {
    return this.#pool.freeSegments >= this.#limits.reserveSegments;
  }

  get isAmple(): boolean {
    return this.#pool.freeSegments > this.#pool.capacitySegments * this.#limits.ampleFreeRatio;
  }

  get isUrgent(): boolean {
    const { reserveSegments, urgentFreeRatio } = this.#limits;
    const share = Math.ceil(this.#pool.capacitySegments * urgentFreeRatio);
    return this.#pool.freeSegments <= reserveSegments + Math.min(share, 16);
  }

  get freeBytes(): number {
    const blocks = this.writableBlocks - this.#live.totalBlocks - this.queuedBlocks;
    return Math.max(0, blocks) * BLOCK_BYTES;
  }

  get capacityBytes(): number {
    return this.#pool.capacitySegments * this.#limits.segmentBytes;
  }

  get liveBytes(): number {
    return this.#live.totalBlocks * BLOCK_BYTES;
  }

  /** Bytes in segments that nothing points to, headers and padding of batches included. */
  get deadBytes(): number {
    const used = this.#pool.usedSegments * usableBlocks(this.#limits) * BLOCK_BYTES;
    return Math.max(0, used - this.liveBytes);
  }
}
