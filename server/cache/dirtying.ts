/**
 * What follows when blocks become dirty: the object's dirty range, its place in the dirty list and
 * its flush round.
 *
 * Owns: `dirtyBlocks`, `dirtyStart`, `dirtyEnd` and `dirtySinceMs` of an object, as far as they
 * grow; a flight takes them back. Does not own: the blocks' states, which the caller has changed.
 */
import type { CachedObject } from './cached-object.ts';
import type { ObjectCache } from './object-cache.ts';

/**
 * Hot path. `newlyDirty` of the blocks in `[startBlock, endBlock)` became dirty, the others were;
 * none only if the object has dirty blocks.
 */
export function markDirty(
  cache: ObjectCache,
  object: CachedObject,
  startBlock: number,
  endBlock: number,
  newlyDirty: number,
): void {
  if (object.dirtyBlocks > 0) {
    object.dirtyBlocks += newlyDirty;
    if (startBlock < object.dirtyStart) object.dirtyStart = startBlock;
    if (endBlock > object.dirtyEnd) object.dirtyEnd = endBlock;
    return;
  }
  object.dirtyBlocks = newlyDirty;
  object.dirtyStart = startBlock;
  object.dirtyEnd = endBlock;
  object.dirtySinceMs = cache.clock.nowMs();
  const volume = object.volume;
  object.round = volume.flushes.rounds.open;
  object.round.pendingObjects += 1;
  if (object.flight === undefined) cache.countDirtyObjects(volume, 1);
  if (!object.isHeld) volume.dirty.pushBack(object);
  cache.drainer.armTimer();
}
