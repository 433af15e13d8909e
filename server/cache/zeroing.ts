/**
 * Makes whole blocks read as zeros without data: TRIM and WRITE_ZEROES.
 *
 * Owns: what becomes of each state. Does not own: partial blocks, which are written.
 * Invariant: a slot in flight or being filled stays with its owner; every other one is given back.
 */
import { BlockState, IS_DIRTY, IS_HOLE, IS_ZERO } from './block-states.ts';
import { slotOf, stateOf } from './block-table.ts';
import type { CachedObject } from './cached-object.ts';
import { markDirty } from './dirtying.ts';
import { overwriteFilling } from './fetch.ts';
import { PAGE_SHIFT } from './limits.ts';
import type { ObjectCache } from './object-cache.ts';

export type ZeroState = typeof BlockState.dirtyHole | typeof BlockState.dirtyZero;

/** Pages that `zeroBlocks` will take: those covered in part. */
export function pagesForZeroing(
  cache: ObjectCache,
  object: CachedObject,
  first: number,
  last: number,
): number {
  const firstPage = first >> PAGE_SHIFT;
  const lastPage = last >> PAGE_SHIFT;
  let pages = 0;
  for (const page of firstPage === lastPage ? [firstPage] : [firstPage, lastPage]) {
    const isWhole =
      first <= page << PAGE_SHIFT && last >= (page << PAGE_SHIFT) + object.pageBlocks - 1;
    if (!isWhole) pages += cache.table.pagesNeeded(object, page << PAGE_SHIFT, page << PAGE_SHIFT);
  }
  return pages;
}

/** Moves the blocks from `first` to `last` to `target`, except those that are the same already. */
export function zeroBlocks(
  cache: ObjectCache,
  object: CachedObject,
  first: number,
  last: number,
  target: ZeroState,
): void {
  for (let page = first >> PAGE_SHIFT; page <= last >> PAGE_SHIFT; page += 1) {
    const pageFirst = page << PAGE_SHIFT;
    const pageLast = pageFirst + object.pageBlocks - 1;
    if (first <= pageFirst && last >= pageLast) zeroPage(cache, object, page, target);
    else zeroPart(cache, object, Math.max(first, pageFirst), Math.min(last, pageLast), target);
  }
  cache.drainer.notice();
}

/** True if a block in `state` is the same as `target` as far as store and reader can tell. */
function isSame(state: number, target: ZeroState): boolean {
  const same = target === BlockState.dirtyHole ? IS_HOLE : IS_ZERO;
  return ((same >> state) & 1) === 1;
}

function zeroPage(cache: ObjectCache, object: CachedObject, page: number, target: ZeroState): void {
  const { table } = cache;
  const first = page << PAGE_SHIFT;
  const uniform = table.uniformState(object, page);
  if (uniform !== undefined && isSame(uniform, target)) return;
  let newlyDirty = 0;
  for (let block = first + object.pageBlocks - 1; block >= first; block -= 1) {
    const entry = table.get(object, block);
    release(cache, object, block, entry);
    if (((IS_DIRTY >> stateOf(entry)) & 1) === 0) newlyDirty += 1;
  }
  table.setUniform(object, page, target);
  // The dirty range must cover the page even if nothing is new: a flight takes it whole.
  markDirty(cache, object, first, first + object.pageBlocks, newlyDirty);
}

function zeroPart(
  cache: ObjectCache,
  object: CachedObject,
  first: number,
  last: number,
  target: ZeroState,
): void {
  for (let block = last; block >= first; block -= 1) {
    const entry = cache.table.get(object, block);
    const state = stateOf(entry);
    if (isSame(state, target)) continue;
    release(cache, object, block, entry);
    cache.table.set(object, block, target);
    if (((IS_DIRTY >> state) & 1) === 0) markDirty(cache, object, block, block + 1, 1);
  }
}

/** Gives back the slot of a block that loses its data, if it is the block's own. */
function release(cache: ObjectCache, object: CachedObject, block: number, entry: number): void {
  const state = stateOf(entry);
  if (state === BlockState.filling) overwriteFilling(object, block);
  if (state !== BlockState.clean && state !== BlockState.dirty) return;
  cache.slab.give(slotOf(entry));
  if (state === BlockState.dirty) cache.countDirtySlots(object.volume, -1);
}
