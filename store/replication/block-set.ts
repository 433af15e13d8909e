/**
 * Sets of the blocks of one object: a bit for each block, least significant first.
 *
 * Owns: marking extents and asking whether extents cover a set. The layout is the one that
 * `CopyRequest.delta.changedBlocks` has.
 */
import type { Extent } from '../engine/store-node.ts';

export type BlockSet = Uint8Array;

export function emptyBlockSet(blockCount: number): BlockSet {
  return new Uint8Array(Math.ceil(blockCount / 8));
}

export function addExtents(set: BlockSet, extents: readonly Extent[]): void {
  for (const extent of extents) {
    const endExclusive = extent.startBlock + extent.blockCount;
    for (let block = extent.startBlock; block < endExclusive; block++) {
      set[block >>> 3]! |= 1 << (block & 7);
    }
  }
}

export function hasBlockIn(set: BlockSet, startBlock: number, blockCount: number): boolean {
  for (let block = startBlock; block < startBlock + blockCount; block++) {
    if ((set[block >>> 3]! & (1 << (block & 7))) !== 0) return true;
  }
  return false;
}

/** Whether every block of the set is in one of the extents. */
export function isCovered(set: BlockSet, extents: readonly Extent[], blockCount: number): boolean {
  const covered = emptyBlockSet(blockCount);
  addExtents(covered, extents);
  return set.every((bits, at) => (bits & ~covered[at]!) === 0);
}
