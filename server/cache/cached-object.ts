/**
 * One object in the cache: where its blocks' entries are, and what is going on with it.
 *
 * Owns: fields only; who changes them is said at each. Its blocks live in `block-table.ts`.
 * Invariants: `dirtyBlocks` counts the blocks in a dirty state, all of which lie in
 * `[dirtyStart, dirtyEnd)`; `round` is set exactly while `dirtyBlocks > 0`; it is in the volume's
 * dirty list exactly while it has dirty blocks and is not held (`isHeld`).
 */
import type { Mutex } from 'async-mutex';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { CachedVolume } from './cached-volume.ts';
import type { Fetch } from './fetch.ts';
import type { Flight } from './flight.ts';
import type { FlushRound, RangeFlush } from './flush-rounds.ts';
import { PAGE_BLOCKS } from './limits.ts';

export class CachedObject {
  readonly volume: CachedVolume;
  readonly objectIndex: number;
  /** In the cache of all volumes. */
  readonly key: number;
  readonly pages: Int32Array;
  /** Blocks in a page: fewer than usual only in an object smaller than a page. */
  readonly pageBlocks: number;

  dirtyBlocks = 0;
  dirtyStart = 0;
  dirtyEnd = 0;
  dirtySinceMs = 0;
  /** The flush round that covers its dirty blocks; see `flush-rounds.ts`. */
  round: FlushRound | undefined = undefined;
  /** Flushes of a range that wait for the next flight. */
  rangeFlushes: RangeFlush[] | undefined = undefined;
  isListed = false;
  listNext: CachedObject | undefined = undefined;
  listPrevious: CachedObject | undefined = undefined;

  /** The write in progress; at most one. */
  flight: Flight | undefined = undefined;
  fetches: Fetch[] | undefined = undefined;
  /** Fetches in progress whose blocks were written meanwhile. */
  overwrittenFetches = 0;
  /** Slow requests that count on its blocks to stay. */
  pins = 0;
  /** Serializes partial writes to absent blocks; made when first needed. */
  mutex: Mutex | undefined = undefined;
  /** True after it left the cache: fetches and flights give their slots back, no more. */
  isDropped = false;

  constructor(volume: CachedVolume, objectIndex: number, key: number) {
    const blocks = volume.store.objectBytes / BLOCK_BYTES;
    this.volume = volume;
    this.objectIndex = objectIndex;
    this.key = key;
    this.pageBlocks = Math.min(PAGE_BLOCKS, blocks);
    this.pages = new Int32Array(blocks / this.pageBlocks);
  }

  /**
   * True while its dirty blocks may not be sent: a write is in flight, or a read of blocks that
   * were written since (the store is not asked to read what a write in flight changes).
   */
  get isHeld(): boolean {
    return this.flight !== undefined || this.overwrittenFetches > 0;
  }

  /** Nothing is going on with it that would be lost with it. */
  get isIdle(): boolean {
    return (
      this.dirtyBlocks === 0 &&
      this.flight === undefined &&
      this.fetches === undefined &&
      this.pins === 0
    );
  }
}
