/**
 * How fast writers may make blocks dirty.
 *
 * Owns: the marks, and the queue of writers that wait. Does not own: the count of dirty blocks.
 * Invariants: below the slow mark nobody waits; what is dirty and what was granted never pass the
 * hard mark together (but one request alone is always granted); writers are served in their order.
 *
 * Between the marks writers go at the store's own pace: each block that became durable gives
 * credit for up to two new ones near the slow mark, for one near the hard mark. So throughput stays
 * smooth, with no rate to guess. A writer waits `writeDelayMsMax` at most while the hard limit
 * allows it to go on.
 *
 * What a store has no room for stays dirty, and no waiting helps: it may fill the cache up to the
 * slow mark, and from there on writes of its volume are refused. Others are refused only where it
 * was more when its store became full, so that they would wait for ever, too.
 */
import type { Clock, TimerHandle } from '../../store/runtime/clock.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import type { CacheStats } from './cache-stats.ts';
import type { CacheLimits } from './limits.ts';

/** A volume whose writes wait. */
export interface Writer {
  /** Why its last write to the store found no room there; `undefined` if it did. */
  readonly spaceError: DroverError | undefined;
}

interface WaitingWriter {
  readonly writer: Writer;
  readonly blocks: number;
  readonly sinceMs: number;
  readonly grant: () => void;
  readonly refuse: (error: DroverError) => void;
}

/** The counts of what is dirty, kept by the cache. */
export interface DirtyCounts {
  readonly dirtySlots: number;
  readonly dirtyObjects: number;
  /** Dirty slots that their stores have no room for. */
  stuckSlots(): number;
}

export class Admission {
  readonly #slowSlots: number;
  readonly #hardSlots: number;
  readonly #slowObjects: number;
  readonly #hardObjects: number;
  readonly #delayMsMax: number;
  readonly #counts: DirtyCounts;
  readonly #clock: Clock;
  readonly #stats: CacheStats;
  readonly #waiting: WaitingWriter[] = [];
  /** Blocks granted to writers that have not written them yet. */
  #grantedBlocks = 0;
  #creditBlocks = 0;
  #timer: TimerHandle | undefined;

  constructor(
    slots: number,
    limits: CacheLimits,
    counts: DirtyCounts,
    clock: Clock,
    stats: CacheStats,
  ) {
    this.#slowSlots = Math.floor(slots * limits.slowShare);
    this.#hardSlots = Math.floor(slots * limits.hardShare);
    this.#slowObjects = Math.floor(limits.objectsMax * limits.slowShare);
    this.#hardObjects = Math.floor(limits.objectsMax * limits.hardShare);
    this.#delayMsMax = limits.writeDelayMsMax;
    this.#counts = counts;
    this.#clock = clock;
    this.#stats = stats;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** Hot path. True if `blocks` may become dirty now; uses up credit above the slow mark. */
  admits(blocks: number): boolean {
    if (this.#waiting.length > 0) return false;
    const slots = this.#counts.dirtySlots + this.#grantedBlocks + blocks;
    if (slots <= this.#slowSlots && this.#counts.dirtyObjects < this.#slowObjects) return true;
    return this.#takeCredit(blocks, false);
  }

  /**
   * Resolves when `blocks` may become dirty; until `release` they count as if they were. The
   * writer queues behind those that wait already. Error: `outOfSpace` if waiting cannot help.
   */
  wait(blocks: number, writer: Writer): Promise<void> {
    const sinceMs = this.#clock.nowMs();
    this.#stats.throttledWrites += 1;
    return new Promise((resolve, reject) => {
      const waited = () => {
        this.#stats.throttledSeconds += (this.#clock.nowMs() - sinceMs) / 1000;
      };
      const grant = () => {
        this.#grantedBlocks += blocks;
        waited();
        resolve();
      };
      const refuse = (error: DroverError) => {
        waited();
        reject(error);
      };
      this.#waiting.push({ writer, blocks, sinceMs, grant, refuse });
      this.refuseHopeless();
      this.serve();
    });
  }

  /** Call after a write to a store failed. */
  refuseHopeless(): void {
    const stuckSlots = this.#counts.stuckSlots();
    if (stuckSlots === 0) return;
    for (const waiting of [...this.#waiting]) {
      const { spaceError } = waiting.writer;
      const mark = spaceError === undefined ? this.#hardSlots : this.#slowSlots;
      // What frees space takes none.
      if (waiting.blocks === 0 || stuckSlots + waiting.blocks <= mark) continue;
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      waiting.refuse(
        new DroverError(
          'outOfSpace',
          'the cache is full of what the store cannot take',
          spaceError,
        ),
      );
    }
  }

  /** The granted blocks were written, or will not be. */
  release(blocks: number): void {
    this.#grantedBlocks -= blocks;
    this.serve();
  }

  /** `blocks` became durable. */
  drained(blocks: number): void {
    const range = Math.max(1, this.#hardSlots - this.#slowSlots);
    const share = (this.#hardSlots - this.#counts.dirtySlots) / range;
    const perBlock = 1 + Math.min(1, Math.max(0, share));
    // Credit that nobody used is no licence for a burst later.
    this.#creditBlocks = Math.min(this.#creditBlocks + blocks * perBlock, range / 4);
    this.serve();
  }

  /** Lets writers go on as far as the marks allow; call after less is dirty for another reason. */
  serve(): void {
    while (this.#waiting.length > 0) {
      const { blocks, sinceMs } = this.#waiting[0]!;
      const slots = this.#counts.dirtySlots + this.#grantedBlocks + blocks;
      const isLow = slots <= this.#slowSlots && this.#counts.dirtyObjects < this.#slowObjects;
      // A millisecond less: a timer may fire that much before its time.
      const isLate = this.#clock.nowMs() - sinceMs >= this.#delayMsMax - 1;
      if (!isLow && !this.#takeCredit(blocks, isLate)) break;
      this.#waiting.shift()!.grant();
    }
    this.#armTimer();
  }

  /** `isLate`: the writer has waited long enough to go on without credit. */
  #takeCredit(blocks: number, isLate: boolean): boolean {
    const held = this.#counts.dirtySlots + this.#grantedBlocks;
    if (held > 0 && held + blocks > this.#hardSlots) return false;
    if (this.#counts.dirtyObjects >= this.#hardObjects) return false;
    if (this.#creditBlocks < blocks && !isLate) return false;
    this.#creditBlocks = Math.max(0, this.#creditBlocks - blocks);
    return true;
  }

  #armTimer(): void {
    if (this.#timer !== undefined || this.#waiting.length === 0) return;
    const waitedMs = this.#clock.nowMs() - this.#waiting[0]!.sinceMs;
    // Past its time it waits for the hard limit, so for the store; the timer is only a reminder.
    const delayMs = Math.max(1, this.#delayMsMax - waitedMs);
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      this.serve();
    });
  }
}
