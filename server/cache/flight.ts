/**
 * One write of an object's dirty blocks to the store: what it takes along and how it lands.
 *
 * Owns: building the extents and the payload, and the blocks' states while it is under way. Does
 * not own: when it starts, and who is told (`write-back.ts`).
 * Invariant: the slots of a flight belong to it until it settles, whatever happens to the blocks;
 * nobody writes to them. A block whose entry is not the flight's any more is newer: it keeps what
 * it has, and the flight's slot is given back.
 */

import { BlockKind, type Extent } from '../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import { BlockState, IS_DIRTY, kindOf } from './block-states.ts';
import { type BlockTable, entryOf, slotOf, stateOf } from './block-table.ts';
import type { CachedObject } from './cached-object.ts';
import { markDirty } from './dirtying.ts';
import type { FlushRound, RangeFlush } from './flush-rounds.ts';
import { PAGE_SHIFT } from './limits.ts';
import type { ObjectCache } from './object-cache.ts';

/** States by `BlockKind`: hole, zero, data. */
const DIRTY_OF = [BlockState.dirtyHole, BlockState.dirtyZero, BlockState.dirty] as const;
const FLUSHING_OF = [
  BlockState.flushingHole,
  BlockState.flushingZero,
  BlockState.flushing,
] as const;
const SETTLED_OF = [BlockState.hole, BlockState.zero, BlockState.clean] as const;

export interface Flight {
  readonly object: CachedObject;
  readonly extents: readonly Extent[];
  /** Of the data blocks, in the order of the extents. */
  readonly slots: readonly number[];
  /** What it counts as against the limits of what is in flight. */
  readonly weightBytes: number;
  readonly round: FlushRound;
  readonly rangeFlushes: RangeFlush[];
  readonly dirtySinceMs: number;
}

/** Adds a run to the extents, to the last of them if it continues it. */
function addRun(extents: Extent[], startBlock: number, blockCount: number, kind: BlockKind): void {
  const last = extents[extents.length - 1];
  if (last?.kind === kind && last.startBlock + last.blockCount === startBlock) {
    extents[extents.length - 1] = {
      startBlock: last.startBlock,
      blockCount: last.blockCount + blockCount,
      kind,
    };
  } else {
    extents.push({ startBlock, blockCount, kind });
  }
}

/** Moves the object's dirty blocks to their flushing states, and lists them. */
function collect(
  table: BlockTable,
  object: CachedObject,
  extents: Extent[],
  slots: number[],
): void {
  let block = object.dirtyStart;
  let runStart = block;
  let runKind: BlockKind | undefined;
  const endRun = () => {
    if (runKind !== undefined) addRun(extents, runStart, block - runStart, runKind);
    runKind = undefined;
  };
  while (block < object.dirtyEnd) {
    const page = block >> PAGE_SHIFT;
    const uniform = table.uniformState(object, page);
    if (uniform !== undefined) {
      endRun();
      if ((IS_DIRTY >> uniform) & 1) {
        const kind = kindOf(uniform);
        addRun(extents, page << PAGE_SHIFT, object.pageBlocks, kind);
        table.setUniform(object, page, FLUSHING_OF[kind]);
      }
      block = (page + 1) << PAGE_SHIFT;
      continue;
    }
    const entry = table.get(object, block);
    const isDirty = ((IS_DIRTY >> stateOf(entry)) & 1) === 1;
    const kind = isDirty ? kindOf(stateOf(entry)) : undefined;
    if (kind !== runKind) {
      endRun();
      runStart = block;
      runKind = kind;
    }
    if (kind !== undefined) {
      if (kind === BlockKind.data) slots.push(slotOf(entry));
      table.set(object, block, entryOf(FLUSHING_OF[kind], slotOf(entry)));
    }
    block += 1;
  }
  endRun();
}

/** Takes all dirty blocks of an object that has some and has no flight. */
export function takeOff(cache: ObjectCache, object: CachedObject): Flight {
  const extents: Extent[] = [];
  const slots: number[] = [];
  collect(cache.table, object, extents, slots);
  const flight: Flight = {
    object,
    extents,
    slots,
    weightBytes: Math.max(1, slots.length) * BLOCK_BYTES,
    round: object.round!,
    rangeFlushes: object.rangeFlushes ?? [],
    dirtySinceMs: object.dirtySinceMs,
  };
  object.flight = flight;
  object.dirtyBlocks = 0;
  object.round = undefined;
  object.rangeFlushes = undefined;
  return flight;
}

/** The blocks are durable: they are clean, or what became of them since. */
export function land(cache: ObjectCache, flight: Flight): void {
  forEachBlock(cache, flight, (block, kind, slot, isCurrent) => {
    if (isCurrent) cache.table.set(flight.object, block, entryOf(SETTLED_OF[kind], slot));
    else if (kind === BlockKind.data) cache.slab.give(slot);
  });
  settlePages(cache.table, flight, SETTLED_OF);
  cache.countDirtySlots(flight.object.volume, -flight.slots.length);
}

/** The write failed: the blocks are dirty again, except where they are newer. */
export function turnBack(cache: ObjectCache, flight: Flight): void {
  const { object } = flight;
  let givenBack = 0;
  forEachBlock(cache, flight, (block, kind, slot, isCurrent) => {
    if (isCurrent) {
      cache.table.set(object, block, entryOf(DIRTY_OF[kind], slot));
      markDirty(cache, object, block, block + 1, 1);
    } else if (kind === BlockKind.data) {
      cache.slab.give(slot);
      givenBack += 1;
    }
  });
  const pages = settlePages(cache.table, flight, DIRTY_OF);
  for (const page of pages) {
    const first = page << PAGE_SHIFT;
    markDirty(cache, object, first, first + object.pageBlocks, object.pageBlocks);
  }
  if (object.dirtyBlocks > 0) {
    object.dirtySinceMs = Math.min(object.dirtySinceMs, flight.dirtySinceMs);
  }
  cache.countDirtySlots(flight.object.volume, -givenBack);
}

/** The object left the cache: only the slots are left to give back. */
export function abandon(cache: ObjectCache, flight: Flight): void {
  for (const slot of flight.slots.toReversed()) cache.slab.give(slot);
  cache.countDirtySlots(flight.object.volume, -flight.slots.length);
}

/**
 * Visits the flight's blocks that have entries, the last first (a run of slots given back from its
 * end is taken in ascending order). `isCurrent`: the block is still as the flight took it.
 */
function forEachBlock(
  cache: ObjectCache,
  flight: Flight,
  visit: (block: number, kind: BlockKind, slot: number, isCurrent: boolean) => void,
): void {
  const { object, extents, slots } = flight;
  let nextSlot = slots.length;
  for (let i = extents.length - 1; i >= 0; i -= 1) {
    const { startBlock, blockCount, kind } = extents[i]!;
    for (let block = startBlock + blockCount - 1; block >= startBlock; block -= 1) {
      const slot = kind === BlockKind.data ? slots[--nextSlot]! : 0;
      const page = block >> PAGE_SHIFT;
      if (kind !== BlockKind.data && cache.table.uniformState(object, page) !== undefined) continue;
      const isCurrent = cache.table.get(object, block) === entryOf(FLUSHING_OF[kind], slot);
      visit(block, kind, slot, isCurrent);
    }
  }
}

/** Moves the pages that are holes or zeros in flight as a whole; returns them. */
function settlePages(
  table: BlockTable,
  flight: Flight,
  stateOfKind: readonly [BlockState, BlockState, BlockState],
): number[] {
  const { object, extents } = flight;
  const moved: number[] = [];
  for (const { startBlock, blockCount, kind } of extents) {
    if (kind === BlockKind.data || blockCount < object.pageBlocks) continue;
    const lastPage = (startBlock + blockCount - 1) >> PAGE_SHIFT;
    for (let page = startBlock >> PAGE_SHIFT; page <= lastPage; page += 1) {
      if (table.uniformState(object, page) !== FLUSHING_OF[kind]) continue;
      table.setUniform(object, page, stateOfKind[kind]);
      moved.push(page);
    }
  }
  return moved;
}
