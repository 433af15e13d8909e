/**
 * What a store node can be asked: the interface between a writer and one replica.
 *
 * `store/engine` implements it on a disk, `store/peer` hands it over a network. Owns the types and
 * their rules; no behaviour. All numbers are non-negative safe integers; a block index counts
 * `BLOCK_BYTES` units from the start of the object.
 *
 * Rules:
 * - A write is applied whole or not at all, and resolves only when it is durable.
 * - A write is applied only on exactly its `base` version. Sent again when its `target` is already
 *   there, it succeeds without doing anything.
 * - A request whose epoch is lower than the highest the node was told for the volume is `fenced`.
 */

/** Content of a run of blocks. Numbers, because they are compared on hot paths. */
export const BlockKind = {
  /** Nothing stored: reads as zeros, takes no space. */
  hole: 0,
  /** Reads as zeros, and is allocated as far as a client can tell. */
  zero: 1,
  data: 2,
} as const;
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

/**
 * The version of an object: `epoch` of the lease under which it was written (up to 2^32 - 1), and
 * `seq`, which grows by one with every write (below 2^53). Ordered by epoch, then seq.
 */
export interface Version {
  readonly epoch: number;
  readonly seq: number;
}

/** The version of an object that was never written. */
export const VERSION_NONE: Version = { epoch: 0, seq: 0 };

export function compareVersions(a: Version, b: Version): number {
  return a.epoch === b.epoch ? a.seq - b.seq : a.epoch - b.epoch;
}

export interface ObjectKey {
  /** Up to 2^48 - 1; never used again after its volume is deleted. */
  readonly layerId: number;
  /** Up to 2^32 - 1. */
  readonly objectIndex: number;
}

/** A run of blocks of one kind. */
export interface Extent {
  readonly startBlock: number;
  readonly blockCount: number;
  readonly kind: BlockKind;
}

export interface WriteRequest extends ObjectKey {
  /** What the epoch is checked against. */
  readonly volumeId: number;
  /** The epoch of the writer's lease. */
  readonly epoch: number;
  readonly base: Version;
  readonly target: Version;
  /** At least one; in ascending order, not overlapping. */
  readonly extents: readonly Extent[];
  /** The CRC-32 of each data block, in the order of the extents. */
  readonly blockCrcs: Uint32Array;
  /**
   * The bytes of the data blocks, in order; each buffer holds whole blocks. Nobody changes them
   * until the write settles.
   */
  readonly payload: readonly Buffer[];
}

export interface ReadRequest extends ObjectKey {
  /** The read is refused as `conflict` if the object has another version. */
  readonly expected: Version;
  readonly startBlock: number;
  readonly blockCount: number;
}

export interface ReadResult {
  /** A `BlockKind` for each block asked for. */
  readonly kinds: Uint8Array;
  /** The stored CRC-32 of each block; 0 where there is no data. Not compared with the bytes yet. */
  readonly blockCrcs: Uint32Array;
}

/** Objects in ascending order of index: entry `i` of each array belongs to one object. */
export interface VersionPage {
  readonly count: number;
  readonly objectIndexes: Uint32Array;
  readonly epochs: Uint32Array;
  readonly seqs: Float64Array;
}

export interface StoreNode {
  /**
   * Errors: `fenced`, `conflict` (base), `outOfSpace`, `invalid`, `unavailable`. After
   * `unavailable` the write may or may not be durable, and the node serves no more writes until it
   * is opened again; after any other error nothing of it was applied.
   */
  write(request: WriteRequest): Promise<void>;
  /**
   * Puts the data blocks' bytes at their places in `into`, whose lengths are whole blocks and add
   * up to `blockCount` blocks; the places of holes and zeros are left as they are.
   * Errors: `conflict`, `unavailable`, `corrupt` (the node cannot read what it stores).
   */
  read(request: ReadRequest, into: readonly Buffer[]): Promise<ReadResult>;
  /** The kind of each block of an object; all holes for one that does not exist. */
  map(key: ObjectKey, blockCount: number): Promise<Uint8Array>;
  /** Objects of a layer from `fromObjectIndex` on, `limit` at most; a short page is the last. */
  listVersions(layerId: number, fromObjectIndex: number, limit: number): Promise<VersionPage>;
  /** Durably raises the volume's epoch. Error: `fenced` if a higher one was told before. */
  adoptEpoch(volumeId: number, epoch: number): Promise<void>;
  /** Durably forgets a layer's objects and gives their space back; no error if there are none. */
  removeLayer(layerId: number): Promise<void>;
}
