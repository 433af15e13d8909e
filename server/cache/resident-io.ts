/**
 * Reads and writes of blocks that are resident: the data path, synchronous, nothing allocated.
 *
 * Owns: copying between the slab and the caller's buffer, and what a write does to each state.
 * Does not own: finding the object, waiting, fetching.
 * Invariants: a function that says it cannot has changed nothing (but it may have evicted); bytes
 * of a block in flight are never written to.
 */
import assert from 'node:assert';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import { BlockState, IS_DIRTY, READABLE, READS_AS_ZERO } from './block-states.ts';
import { entryOf, slotOf, stateOf } from './block-table.ts';
import type { CachedObject } from './cached-object.ts';
import { markDirty } from './dirtying.ts';
import { overwriteFilling } from './fetch.ts';
import { EVICT_OBJECTS_TRIED_MAX } from './limits.ts';
import type { ObjectCache } from './object-cache.ts';

const BLOCK_SHIFT = Math.log2(BLOCK_BYTES);
const BLOCK_MASK = BLOCK_BYTES - 1;

/** Numbers, because they are compared on the hot path. */
export const WriteOutcome = {
  done: 0,
  /** A block that is written in part is not resident. */
  needsFetch: 1,
  /** No slot, page or place can be made free now. */
  needsRoom: 2,
  /** Too much is dirty. */
  needsAdmission: 3,
} as const;
export type WriteOutcome = (typeof WriteOutcome)[keyof typeof WriteOutcome];

/** On which rights a write comes. */
export const WriteRight = {
  /** Nothing was waited for: others that wait go first. */
  none: 0,
  /** Admission was waited for and granted. */
  admitted: 1,
  /** It is the first of those that wait for room. */
  first: 2,
} as const;

/** Hot path. True if all blocks of the range, in bytes from the object's start, are resident. */
export function isResident(
  cache: ObjectCache,
  object: CachedObject,
  start: number,
  bytes: number,
): boolean {
  const last = (start + bytes - 1) >> BLOCK_SHIFT;
  for (let block = start >> BLOCK_SHIFT; block <= last; block += 1) {
    if (((READABLE >> stateOf(cache.table.get(object, block))) & 1) === 0) return false;
  }
  return true;
}

/** Hot path. Copies a range of resident blocks to `target`. */
export function copyOut(
  cache: ObjectCache,
  object: CachedObject,
  start: number,
  bytes: number,
  target: Buffer,
  targetStart: number,
): void {
  const { table, slab } = cache;
  const end = start + bytes;
  let at = start;
  let targetAt = targetStart;
  while (at < end) {
    const entry = table.get(object, at >> BLOCK_SHIFT);
    let next = (at & ~BLOCK_MASK) + BLOCK_BYTES;
    if ((READS_AS_ZERO >> stateOf(entry)) & 1) {
      while (next < end && (READS_AS_ZERO >> stateOf(table.get(object, next >> BLOCK_SHIFT))) & 1) {
        next += BLOCK_BYTES;
      }
      if (next > end) next = end;
      target.fill(0, targetAt, targetAt + next - at);
    } else {
      const slot = slotOf(entry);
      let last = slot;
      while (next < end) {
        const following = slotOf(table.get(object, next >> BLOCK_SHIFT));
        // A block without a slot has slot 0, which follows nothing.
        if (!slab.follows(last, following)) break;
        last = following;
        next += BLOCK_BYTES;
      }
      if (next > end) next = end;
      slab.copyOut(slot, at & BLOCK_MASK, target, targetAt, next - at);
    }
    targetAt += next - at;
    at = next;
  }
  cache.stats.readBlocks += ((end - 1) >> BLOCK_SHIFT) - (start >> BLOCK_SHIFT) + 1;
}

/**
 * Hot path. Bytes from `start` on of one sort: positive for data, negative for zeros, 0 if the
 * first block is not resident.
 */
export function runBytes(
  cache: ObjectCache,
  object: CachedObject,
  start: number,
  bytes: number,
): number {
  const { table } = cache;
  const end = start + bytes;
  const first = stateOf(table.get(object, start >> BLOCK_SHIFT));
  if (((READABLE >> first) & 1) === 0) return 0;
  const isZero = (READS_AS_ZERO >> first) & 1;
  let next = (start & ~BLOCK_MASK) + BLOCK_BYTES;
  while (next < end) {
    const state = stateOf(table.get(object, next >> BLOCK_SHIFT));
    if (((READABLE >> state) & 1) === 0 || ((READS_AS_ZERO >> state) & 1) !== isZero) break;
    next += BLOCK_BYTES;
  }
  const run = Math.min(next, end) - start;
  return isZero === 1 ? -run : run;
}

/** Hot path. Writes a range of one object, or says what it needs first. */
export function writeResident(
  cache: ObjectCache,
  object: CachedObject,
  start: number,
  bytes: number,
  source: Buffer,
  sourceStart: number,
  right: number,
): WriteOutcome {
  const first = start >> BLOCK_SHIFT;
  const last = (start + bytes - 1) >> BLOCK_SHIFT;
  if (first === last) {
    const entry = cache.table.get(object, first);
    if (stateOf(entry) === BlockState.dirty) {
      cache.slab.copyIn(slotOf(entry), start & BLOCK_MASK, source, sourceStart, bytes);
      return WriteOutcome.done;
    }
  }
  const outcome = prepare(cache, object, start, bytes, right);
  if (outcome !== WriteOutcome.done) return outcome;
  copyIn(cache, object, start, bytes, source, sourceStart);
  cache.drainer.notice();
  return WriteOutcome.done;
}

/** Hot path. Makes sure that a write of the range can be done whole. */
function prepare(
  cache: ObjectCache,
  object: CachedObject,
  start: number,
  bytes: number,
  right: number,
): WriteOutcome {
  const { table, slab } = cache;
  const end = start + bytes;
  const first = start >> BLOCK_SHIFT;
  const last = (end - 1) >> BLOCK_SHIFT;
  let slots = 0;
  let newlyDirty = 0;
  for (let block = first; block <= last; block += 1) {
    const state = stateOf(table.get(object, block));
    if (state === BlockState.dirty) continue;
    newlyDirty += 1;
    if (state === BlockState.clean) continue;
    slots += 1;
    if (state !== BlockState.absent && state !== BlockState.filling) continue;
    if (block === first && (start & BLOCK_MASK) !== 0) return WriteOutcome.needsFetch;
    if (block === last && (end & BLOCK_MASK) !== 0) return WriteOutcome.needsFetch;
  }
  if (newlyDirty === 0) return WriteOutcome.done;
  const pages = table.pagesNeeded(object, first, last);
  const isFirst = (right & WriteRight.first) !== 0;
  if ((slots > 0 || pages > 0) && cache.room.length > 0 && !isFirst) return WriteOutcome.needsRoom;
  if (slots > slab.freeSlots || pages > table.freePages) {
    const tries = isFirst ? cache.limits.objectsMax : EVICT_OBJECTS_TRIED_MAX;
    if (!cache.makeRoom(slots, pages, object, first, last, tries)) return WriteOutcome.needsRoom;
  }
  if ((right & WriteRight.admitted) === 0 && !cache.admission.admits(newlyDirty)) {
    return WriteOutcome.needsAdmission;
  }
  return WriteOutcome.done;
}

/** Hot path. The copy of a write that was prepared, as few pieces as the slots allow. */
function copyIn(
  cache: ObjectCache,
  object: CachedObject,
  start: number,
  bytes: number,
  source: Buffer,
  sourceStart: number,
): void {
  const { slab } = cache;
  const end = start + bytes;
  let runStart = start;
  let runSlot = writableSlot(cache, object, start, end);
  let lastSlot = runSlot;
  let at = (start & ~BLOCK_MASK) + BLOCK_BYTES;
  while (at < end) {
    const slot = writableSlot(cache, object, at, end);
    if (!slab.follows(lastSlot, slot)) {
      const from = sourceStart + runStart - start;
      slab.copyIn(runSlot, runStart & BLOCK_MASK, source, from, at - runStart);
      runStart = at;
      runSlot = slot;
    }
    lastSlot = slot;
    at += BLOCK_BYTES;
  }
  const from = sourceStart + runStart - start;
  slab.copyIn(runSlot, runStart & BLOCK_MASK, source, from, end - runStart);
}

/**
 * Hot path. Makes the block at byte `at` dirty and returns a slot that nobody else looks at; the
 * bytes of the block outside `[at, end)` are in it.
 */
function writableSlot(cache: ObjectCache, object: CachedObject, at: number, end: number): number {
  const { table, slab } = cache;
  const block = at >> BLOCK_SHIFT;
  const entry = table.get(object, block);
  const state = stateOf(entry);
  if (state === BlockState.dirty) return slotOf(entry);
  let slot = slotOf(entry);
  if (state !== BlockState.clean) {
    slot = slab.take();
    const blockStart = block << BLOCK_SHIFT;
    if (at > blockStart || end < blockStart + BLOCK_BYTES) {
      fillAround(cache, entry, slot, at - blockStart, Math.min(end - blockStart, BLOCK_BYTES));
    }
    if (state === BlockState.filling) overwriteFilling(object, block);
  }
  table.set(object, block, entryOf(BlockState.dirty, slot));
  cache.countDirtySlots(object.volume, 1);
  if (((IS_DIRTY >> state) & 1) === 0) markDirty(cache, object, block, block + 1, 1);
  return slot;
}

/** Gives a new slot the block's content outside `[from, to)`. */
function fillAround(
  cache: ObjectCache,
  entry: number,
  slot: number,
  from: number,
  to: number,
): void {
  const state = stateOf(entry);
  if (state === BlockState.flushing) {
    cache.slab.copySlot(slotOf(entry), slot);
    return;
  }
  assert((READS_AS_ZERO >> state) & 1, 'a part of an absent block was written');
  cache.slab.zero(slot, 0, from);
  cache.slab.zero(slot, to, BLOCK_BYTES - to);
}
