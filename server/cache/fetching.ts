/**
 * Gets the missing blocks of a request from the store.
 *
 * Owns: finding the missing runs and waiting for those fetches and for others' of the same blocks.
 * Does not own: a fetch itself (`fetch.ts`).
 * Invariants: room for everything missing is taken at once or not at all, so no request waits for
 * room with half of what it needs; the object is pinned from then on until the caller is done.
 */
import { BLOCK_BYTES } from '../../store/geometry.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import { BlockState } from './block-states.ts';
import { stateOf } from './block-table.ts';
import type { CachedObject } from './cached-object.ts';
import type { CachedVolume } from './cached-volume.ts';
import { type Fetch, fetchesOf, startFetch } from './fetch.ts';
import { EVICT_OBJECTS_TRIED_MAX } from './limits.ts';
import type { ObjectCache } from './object-cache.ts';

/** Blocks of an object, both ends included. */
export interface BlockRange {
  readonly first: number;
  readonly last: number;
}

/** The blocks of a range of bytes. */
export function blocksOf(start: number, bytes: number): BlockRange {
  const first = Math.floor(start / BLOCK_BYTES);
  return { first, last: Math.floor((start + bytes - 1) / BLOCK_BYTES) };
}

export function detachedError(): DroverError {
  return new DroverError('unavailable', 'the volume was detached');
}

/** The runs of absent blocks in the ranges, none longer than one fetch may be. */
function missingRuns(
  cache: ObjectCache,
  object: CachedObject,
  ranges: readonly BlockRange[],
): BlockRange[] {
  const runs: BlockRange[] = [];
  for (const { first, last } of ranges) {
    let start = -1;
    for (let block = first; block <= last + 1; block += 1) {
      const isMissing =
        block <= last && stateOf(cache.table.get(object, block)) === BlockState.absent;
      if (start >= 0 && (!isMissing || block - start === cache.limits.fetchBlocksMax)) {
        runs.push({ first: start, last: block - 1 });
        start = -1;
      }
      if (isMissing && start < 0) start = block;
    }
  }
  return runs;
}

/**
 * Starts to fetch what is absent in the ranges, all of which lie in `whole`; `undefined` if there
 * is no room for it, or it is more than `slotsMax`.
 */
export function startMissing(
  cache: ObjectCache,
  object: CachedObject,
  whole: BlockRange,
  ranges: readonly BlockRange[],
  slotsMax: number,
): Fetch[] | undefined {
  const runs = missingRuns(cache, object, ranges);
  let slots = 0;
  let pages = 0;
  for (const { first, last } of runs) {
    slots += last - first + 1;
    // Counted twice where two runs share a page: at worst a page more is made free.
    pages += cache.table.pagesNeeded(object, first, last);
  }
  if (slots === 0) return [];
  if (slots > slotsMax) return undefined;
  const tries = cache.limits.objectsMax;
  if (!cache.makeRoom(slots, pages, object, whole.first, whole.last, tries)) return undefined;
  return runs.map(({ first, last }) => startFetch(cache, object, first, last - first + 1));
}

/**
 * Waits until what was absent in the ranges has been fetched, by whomever, and resolves to the
 * object, pinned: the caller must `unpin` it. Errors: those of the store, `unavailable` after the
 * volume was closed.
 */
export async function fetchMissing(
  volume: CachedVolume,
  objectIndex: number,
  whole: BlockRange,
  ranges: readonly BlockRange[],
): Promise<CachedObject> {
  const { cache } = volume;
  let object: CachedObject | undefined;
  let fetches: Fetch[] = [];
  const attempt = () => {
    if (volume.isClosed) return true;
    const found = cache.findOrCreate(volume, objectIndex, cache.limits.objectsMax);
    if (found === undefined) return false;
    const started = startMissing(cache, found, whole, ranges, cache.slab.slots);
    if (started === undefined) return false;
    for (const fetch of started) cache.stats.missBlocks += fetch.slots.length;
    fetches = ranges.flatMap((range) => fetchesOf(cache, found, range.first, range.last));
    found.pins += 1;
    object = found;
    return true;
  };
  let waits: Promise<void>[] = [];
  const attemptAndWait = () => {
    const isDone = attempt();
    // Asked for in the same turn: a fetch tells those only who asked before it settled.
    waits = fetches.map((fetch) => fetch.wait());
    return isDone;
  };
  if (cache.room.length > 0 || !attemptAndWait()) await cache.room.wait(attemptAndWait);
  if (object === undefined) throw detachedError();
  try {
    await Promise.all(waits);
  } catch (error) {
    cache.unpin(object);
    throw error;
  }
  return object;
}

/**
 * Starts to fetch what is missing of a range, ahead of its reader; -1 if there is no room for it at
 * once, else the blocks that are on their way now.
 */
export function fetchAhead(volume: CachedVolume, objectIndex: number, range: BlockRange): number {
  const { cache } = volume;
  if (volume.isClosed || cache.room.length > 0) return -1;
  if (volume.isNeverWritten(objectIndex)) return 0;
  const object = cache.findOrCreate(volume, objectIndex, EVICT_OBJECTS_TRIED_MAX);
  if (object === undefined) return -1;
  const slotsMax = cache.limits.readAheadSlotsMax - cache.readAheadSlots;
  const started = startMissing(cache, object, range, [range], slotsMax);
  if (started === undefined) return -1;
  let blocks = 0;
  for (const fetch of started) {
    const slots = fetch.slots.length;
    blocks += slots;
    cache.readAheadSlots += slots;
    // An error is counted where it happens; the reader meets it when it comes by.
    fetch.whenSettled(() => {
      cache.readAheadSlots -= slots;
    });
  }
  cache.stats.readAheadBlocks += blocks;
  return blocks;
}

/**
 * Fetches what is missing of a range; resolves to false if there is no room for it at once.
 * Errors: those of the store, `unavailable` after the volume was closed.
 */
export async function prefetch(
  volume: CachedVolume,
  objectIndex: number,
  range: BlockRange,
): Promise<boolean> {
  const { cache } = volume;
  volume.checkOpen();
  if (volume.isNeverWritten(objectIndex)) return true;
  if (cache.room.length > 0) return false;
  const object = cache.findOrCreate(volume, objectIndex, EVICT_OBJECTS_TRIED_MAX);
  if (object === undefined) return false;
  if (startMissing(cache, object, range, [range], cache.slab.slots) === undefined) return false;
  const fetches = fetchesOf(cache, object, range.first, range.last);
  await Promise.all(fetches.map((fetch) => fetch.wait()));
  return true;
}
