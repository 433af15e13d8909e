/**
 * Makes room by forgetting clean blocks, those of the object used least recently first.
 *
 * Owns: the choice of victims. Does not own: waiting for room (`room-queue.ts`).
 * Invariants: only clean blocks go; blocks of a pinned object stay, and so do the blocks for which
 * the room is wanted. An object that cannot be emptied moves to the end of the line, so that the
 * next call does not look at it again.
 */
import { BlockState, IS_EVICTABLE } from './block-states.ts';
import { slotOf, stateOf } from './block-table.ts';
import type { CachedObject } from './cached-object.ts';
import { EVICT_SLOTS_MIN, PAGE_SHIFT } from './limits.ts';
import type { ObjectCache } from './object-cache.ts';

/** The blocks that must stay: those for which room is made. */
export interface Kept {
  object: CachedObject | undefined;
  firstBlock: number;
  lastBlock: number;
}

/**
 * True when so many slots, pages and places for objects are free, after looking at
 * `objectsTriedMax` objects at most.
 */
export function makeRoom(
  cache: ObjectCache,
  slots: number,
  pages: number,
  objects: number,
  kept: Kept,
  objectsTriedMax: number,
): boolean {
  const { slab, table } = cache;
  const wantedSlots = slab.freeSlots >= slots ? 0 : Math.max(slots, EVICT_SLOTS_MIN);
  for (let tried = 0; ; tried += 1) {
    const hasPlaces = cache.freePlaces >= objects && table.freePages >= pages;
    if (hasPlaces && slab.freeSlots >= slots) return true;
    if (hasPlaces && table.counts[BlockState.clean] === 0) return false;
    if (tried >= objectsTriedMax) return false;
    const victim = cache.leastRecent();
    if (victim === undefined) return false;
    const isEnough = () => slab.freeSlots >= wantedSlots && table.freePages >= pages;
    evict(cache, victim, kept, objects > 0 ? undefined : isEnough);
  }
}

/** Takes clean blocks from an object, from its end, until there is enough or none is left. */
function evict(
  cache: ObjectCache,
  object: CachedObject,
  kept: Kept,
  isEnough: (() => boolean) | undefined,
): void {
  const isKept = kept.object === object;
  if (object.pins > 0) {
    cache.touch(object);
    return;
  }
  for (let page = object.pages.length - 1; page >= 0; page -= 1) {
    evictPage(cache, object, page, isKept ? kept : undefined);
    if (page > 0 && isEnough?.()) return;
  }
  if (object.isIdle && !isKept) cache.drop(object);
  else cache.touch(object);
}

function evictPage(
  cache: ObjectCache,
  object: CachedObject,
  page: number,
  kept: Kept | undefined,
): void {
  const { table, slab, stats } = cache;
  if (table.uniformState(object, page) !== undefined) return;
  const first = page << PAGE_SHIFT;
  let staying = 0;
  for (let block = first + object.pageBlocks - 1; block >= first; block -= 1) {
    const entry = table.get(object, block);
    const state = stateOf(entry);
    const isWanted = kept !== undefined && block >= kept.firstBlock && block <= kept.lastBlock;
    if (isWanted || (state !== BlockState.absent && ((IS_EVICTABLE >> state) & 1) === 0)) {
      staying += 1;
    } else if (state === BlockState.clean) {
      slab.give(slotOf(entry));
      table.set(object, block, BlockState.absent);
      stats.evictedBlocks += 1;
    }
  }
  // Holes and zeros known of this page go with it: the store knows them too.
  if (staying === 0) table.setUniform(object, page, BlockState.absent);
}

/** Forgets the clean blocks of a range: a volume that does not cache reads has used them. */
export function forgetClean(
  cache: ObjectCache,
  object: CachedObject,
  firstBlock: number,
  lastBlock: number,
): void {
  for (let block = lastBlock; block >= firstBlock; block -= 1) {
    const entry = cache.table.get(object, block);
    if (stateOf(entry) !== BlockState.clean) continue;
    cache.slab.give(slotOf(entry));
    cache.table.set(object, block, BlockState.absent);
  }
}
