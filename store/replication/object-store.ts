/**
 * What the cache sees of the stored objects of one attached volume.
 *
 * Owns the interface: versions, epochs, copies and checksums are below it and do not show.
 *
 * Rules for its user: one write in flight for each object; no read of blocks that a write in
 * flight changes, or that one changed which failed, before they were written again. All hold in the
 * cache by construction: such blocks are resident, and dirty until a write of them succeeds. The
 * next write of an object had better include the blocks of one that failed: then it needs no copy
 * between nodes before it, if some of them have applied the failed one.
 */
import type { Extent } from '../engine/store-node.ts';

export interface ObjectStore {
  readonly objectBytes: number;
  /** False if the object was never written: all its blocks are holes, and nobody need be asked. */
  exists(objectIndex: number): boolean;
  /**
   * Puts the data blocks from `startBlock` on at their places in `into` (whole blocks each) and
   * resolves to a `BlockKind` for each block; the places of holes and zeros are left as they are.
   * The bytes have matched their checksums.
   */
  read(objectIndex: number, startBlock: number, into: readonly Buffer[]): Promise<Uint8Array>;
  /** The `BlockKind` of each block of the object. */
  map(objectIndex: number): Promise<Uint8Array>;
  /**
   * Resolves when the extents are durable on every copy that counts. `payload` holds the data
   * extents' bytes in order, whole blocks in each buffer, and must not change until then.
   * On an error nothing is promised of the blocks but this: each holds its old or its new content,
   * and the write may be repeated, or a newer one made instead.
   */
  write(objectIndex: number, extents: readonly Extent[], payload: readonly Buffer[]): Promise<void>;
}
