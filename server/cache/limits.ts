/**
 * Every limit of the object cache, with the arithmetic of its worst case.
 *
 * Memory of a cache of `cacheBytes` is at most: the slab (`cacheBytes`), one byte and four for each
 * slot (0.13 % of the slab), the pages (256 bytes each), the objects (about 700 bytes each with
 * their entry in `lru-cache`), and what is in flight (a view of 100 bytes for each run of blocks).
 * With 64 MiB: 16,384 slots, so 16,384 pages (4 MiB) and 16,384 objects (11 MiB).
 * With 1 GiB: 262,144 pages (64 MiB) and 131,072 objects (90 MiB).
 * With 4 GiB: 524,288 pages (128 MiB) and 524,288 objects (360 MiB); there are never more objects.
 */
import { BLOCK_BYTES, OBJECT_BYTES_MAX } from '../../store/geometry.ts';

const KIB = 1024;
const MIB = 1024 * 1024;

/** Below this, one object of the largest size would be the whole cache. */
export const CACHE_BYTES_MIN = OBJECT_BYTES_MAX;

/** Volumes attached at once. Small, so that a cache key stays a small integer up to 2 TiB. */
export const VOLUMES_MAX = 4096;

/** Blocks in a page of the block table: 16 pages for an object of 4 MiB, 256 bytes a page. */
export const PAGE_BLOCKS = 64;
export const PAGE_SHIFT = 6;

/** Slots made free at least when something must be evicted: spreads the cost of finding a victim. */
export const EVICT_SLOTS_MIN = 64;
/** Objects looked at for a victim on the data path; the slow path looks at all. */
export const EVICT_OBJECTS_TRIED_MAX = 64;

export interface CacheLimits {
  /** Pages of the block table: blocks far apart need one each. */
  readonly pagesMax: number;
  readonly objectsMax: number;
  /** Shares of the cache that may be dirty: the drainer starts, writers are slowed, writers wait. */
  readonly drainShare: number;
  readonly slowShare: number;
  readonly hardShare: number;
  /** The drainer sends what has been dirty for so long. */
  readonly dirtyAgeMsMax: number;
  /** A writer that is slowed, and below the hard limit, waits no longer than this. */
  readonly writeDelayMsMax: number;
  /** What the drainer has in flight. One object may go beyond it. */
  readonly drainBytesMax: number;
  readonly drainFlightsMax: number;
  /** The same for everything in flight: flushes may use more. A view and an extent each. */
  readonly flushBytesMax: number;
  readonly flushFlightsMax: number;
  /**
   * Of each volume while somebody reads, which is for so long after a read was seen: turns are
   * shorter then.
   */
  readonly flushBytesMaxBesideReads: number;
  readonly readingMs: number;
  /** A FLUSH is expected after so many with the same number of writes before each. */
  readonly foresightFlushes: number;
  /** Time between attempts after a failed write; doubles up to the maximum. */
  readonly retryMsMin: number;
  readonly retryMsMax: number;
  /** One read of the store; a longer miss is several at once. */
  readonly fetchBlocksMax: number;
  /** What a slow request works on at once; a longer one goes piece by piece. */
  readonly segmentBlocksMax: number;
  readonly readAheadBytesMin: number;
  readonly readAheadBytesMax: number;
  /** Slots that read-ahead may have in flight. */
  readonly readAheadSlotsMax: number;
}

export function defaultLimits(cacheBytes: number): CacheLimits {
  const slots = Math.floor(cacheBytes / BLOCK_BYTES);
  // Half of the slots, so that writes spread over a large volume, a block in each object, reach the
  // limits of objects when a fifth of the cache is dirty, not when a fifteenth is.
  const objectsMax = Math.min(slots, Math.max(2 ** 17, Math.min(slots >> 1, 2 ** 19)));
  return {
    // A quarter of the slots is four blocks a page when the cache is large; an object has one.
    pagesMax: Math.min(slots, Math.max(2 ** 18, slots >> 2, objectsMax)),
    objectsMax,
    drainShare: 0.4,
    slowShare: 0.5,
    hardShare: 0.7,
    dirtyAgeMsMax: 10_000,
    writeDelayMsMax: 100,
    drainBytesMax: 16 * MIB,
    drainFlightsMax: 64,
    flushBytesMax: 32 * MIB,
    flushFlightsMax: 1024,
    flushBytesMaxBesideReads: 4 * MIB,
    readingMs: 20,
    foresightFlushes: 16,
    retryMsMin: 100,
    retryMsMax: 5_000,
    fetchBlocksMax: (256 * KIB) / BLOCK_BYTES,
    // An eighth of the slots, so that several slow requests fit beside one another.
    segmentBlocksMax: Math.max(1, Math.min(MIB / BLOCK_BYTES, slots >> 3)),
    readAheadBytesMin: 128 * KIB,
    readAheadBytesMax: 2 * MIB,
    readAheadSlotsMax: Math.min((8 * MIB) / BLOCK_BYTES, slots >> 3),
  };
}
