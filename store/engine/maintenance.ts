/**
 * What an engine does in the background: checkpoints, cleaning, scrubbing.
 *
 * Owns: when each is due, and that one round of cleaning and one scrub run at a time. Does not own:
 * how they work. Errors: a full disk is logged and tried again at the next tick; any other error of
 * the index is told by `onFailure`, because without it memory cannot be given back.
 */
import { AssertionError } from 'node:assert';
import type { Clock, TimerHandle } from '../runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Checkpointer } from './checkpoint.ts';
import type { Cleaner } from './cleaner.ts';
import type { EngineLog } from './engine-log.ts';
import type { EngineStats } from './engine-stats.ts';
import type { GroupCommit } from './group-commit.ts';
import type { EngineLimits } from './limits.ts';
import type { ObjectIndex } from './object-index.ts';
import type { Pacer } from './pacer.ts';
import type { Scrubber } from './scrub.ts';
import { isNoSpace, type SegmentPool } from './segment-pool.ts';
import type { SpaceBudget } from './space-budget.ts';

export interface MaintenanceOptions {
  readonly clock: Clock;
  readonly pacer: Pacer;
  readonly limits: EngineLimits;
  readonly stats: EngineStats;
  readonly index: ObjectIndex;
  readonly pool: SegmentPool;
  readonly budget: SpaceBudget;
  readonly log: GroupCommit;
  readonly checkpointer: Checkpointer;
  readonly cleaner: Cleaner;
  readonly scrubber: Scrubber;
  readonly engineLog: EngineLog;
  readonly onFailure: (error: DroverError) => void;
}

export class Maintenance {
  readonly #options: MaintenanceOptions;
  #timer: TimerHandle | undefined;
  #checkpoint: Promise<boolean> | undefined;
  #cleaning: Promise<void> | undefined;
  #scrub: Promise<void> | undefined;
  #nextScrubMs: number;
  #checkpointedBytes = 0;
  /** At the last tick. */
  #lastSegmentId = 0;

  constructor(options: MaintenanceOptions) {
    this.#options = options;
    this.#nextScrubMs = options.clock.nowMs() + options.limits.scrubStartMs;
  }

  get #isStopped(): boolean {
    return this.#options.pacer.isStopped;
  }

  get logBytesSinceCheckpoint(): number {
    return this.#options.stats.appendedBytes - this.#checkpointedBytes;
  }

  start(): void {
    const { clock, limits } = this.#options;
    this.#timer = clock.setTimer(limits.tickMs, () => {
      this.#tick();
      if (!this.#isStopped) this.start();
    });
  }

  /** Ends what runs in the background and waits for it. */
  async stop(): Promise<void> {
    this.#options.pacer.stop();
    this.#timer?.cancel();
    await this.#cleaning;
    await this.#options.cleaner.idle();
    await this.#scrub;
    await this.#checkpoint;
    // What waits is told why again, and decided in `onBlocked`.
    this.#options.log.wake();
  }

  /** Hot path. After each batch. */
  onProgress(): void {
    const { limits, index } = this.#options;
    if (
      this.#checkpoint === undefined &&
      (index.dirtyBytes >= limits.checkpointPinnedBytes ||
        this.logBytesSinceCheckpoint >= limits.checkpointLogBytes)
    ) {
      this.#startCheckpoint();
    }
  }

  /** Also when closing: what waits for memory still gets it, what waits for room does not. */
  onBlocked(why: 'space' | 'memory'): void {
    if (why === 'memory') void this.checkpoint();
    else if (this.#isStopped) this.#refuseForGood();
    else this.#startCleaning();
  }

  /** False if the checkpoint failed and may be tried again. */
  checkpoint(): Promise<boolean> {
    this.#checkpoint ??= this.#runCheckpoint().finally(() => {
      this.#checkpoint = undefined;
    });
    return this.#checkpoint;
  }

  /** Frees and cleans until there is no more reason to; once at a time. */
  clean(): Promise<void> {
    this.#cleaning ??= this.#runCleaning().finally(() => {
      this.#cleaning = undefined;
    });
    return this.#cleaning;
  }

  #refuseForGood(): void {
    this.#options.log.refuseBlockedWrites(new DroverError('unavailable', 'the node is closing'));
  }

  #tick(): void {
    const { clock, limits, checkpointer, pool, log } = this.#options;
    if (this.#isStopped) return;
    if (checkpointer.ageMs >= limits.checkpointAgeMs && this.#hasChanges()) this.#startCheckpoint();
    // While segments are used up quickly, the log decides.
    pool.prepare(pool.nextSegmentId === this.#lastSegmentId);
    this.#lastSegmentId = pool.nextSegmentId;
    this.#startCleaning();
    if (clock.nowMs() >= this.#nextScrubMs) {
      this.#scrub ??= this.#runScrub().finally(() => {
        this.#scrub = undefined;
        this.#nextScrubMs = clock.nowMs() + limits.scrubPauseMs;
      });
    }
    log.wake();
  }

  async #runScrub(): Promise<void> {
    const { scrubber, limits, engineLog } = this.#options;
    try {
      const { badBlocks } = await scrubber.pass(limits.scrubBytesPerSecond);
      if (badBlocks > 0) engineLog.error(`scrub found ${badBlocks} bad blocks`);
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      engineLog.error(`scrub stopped: ${describeError(error)}`);
    }
  }

  #hasChanges(): boolean {
    return this.#options.index.dirty.size > 0 || this.logBytesSinceCheckpoint > 0;
  }

  #startCheckpoint(): void {
    if (!this.#isStopped) void this.checkpoint();
  }

  #startCleaning(): void {
    if (!this.#isStopped) void this.clean();
  }

  async #runCheckpoint(): Promise<boolean> {
    const { checkpointer, stats, log, engineLog, onFailure } = this.#options;
    const bytes = stats.appendedBytes;
    try {
      await checkpointer.run();
      this.#checkpointedBytes = bytes;
      log.wake();
      this.#startCleaning();
      return true;
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      if (!isIndexFull(error)) {
        onFailure(new DroverError('unavailable', 'the index cannot be written', error));
        return false;
      }
      engineLog.warn(`no room for a checkpoint: ${describeError(error)}`);
      log.refuseBlockedWrites(new DroverError('outOfSpace', 'no room for the index', error));
      return false;
    }
  }

  async #runCleaning(): Promise<void> {
    const { engineLog } = this.#options;
    try {
      while (await this.#cleanRound());
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      // The log's own failure is told by the log; the disk's may pass.
      if (!isDroverError(error, 'unavailable')) {
        engineLog.warn(`cleaning stopped: ${describeError(error)}`);
      }
      this.#refuseHopeless();
    }
  }

  /** One round over all segments. True if another is worth it, because writes wait for room. */
  async #cleanRound(): Promise<boolean> {
    const { cleaner, pool, budget, log } = this.#options;
    const waited = log.hasBlockedWrites;
    let gained = (await cleaner.freeDead()) > 0;
    let canGain = true;
    for (let left = pool.usedSegments; left > 0 && canGain && cleaner.isNeeded; left -= 1) {
      canGain = (await cleaner.cleanOne(true)) || (await this.#makeVictims());
      if (canGain) gained = (await cleaner.freeDead()) > 0 || gained;
    }
    if (this.#isStopped || !log.hasBlockedWrites) return false;
    // They came during the round, or have a right to the room that rounds like this one make.
    if (!waited || (gained && budget.hasRoomFor(0))) return true;
    // A segment that is just being filled is room, too.
    await pool.prepared();
    await pool.refreshSpace();
    this.#refuseHopeless();
    return false;
  }

  /** Segments behind the last checkpoint cannot be cleaned: a new one may change that. */
  async #makeVictims(): Promise<boolean> {
    const { log, checkpointer } = this.#options;
    if (!log.hasBlockedWrites || checkpointer.start.segmentId === log.place.segmentId) return false;
    return this.checkpoint();
  }

  /** Cleaning has done what it could: writes that still find no room get none. */
  #refuseHopeless(): void {
    const { log, pool, limits } = this.#options;
    if (!log.hasBlockedWrites) return;
    if (pool.freeSegments > limits.reserveSegments) log.wake();
    else log.refuseBlockedWrites(new DroverError('outOfSpace', 'the node is full'));
  }
}

/** LMDB tells it in words, the filesystem by a code. */
function isIndexFull(error: unknown): boolean {
  return isNoSpace(error) || /MDB_MAP_FULL|No space left|ENOSPC/.test(describeError(error));
}
