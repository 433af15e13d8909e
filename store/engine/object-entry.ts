/**
 * One object in memory: its version and where each of its blocks lies.
 *
 * Owns: the block table (dense arrays, one slot for each block up to the highest one touched) and
 * the versions of writes that are on their way. Does not own: which entries are in memory
 * (object-index.ts), and live counts.
 * Invariants: the table changes only when a record is durable; a block beyond the table is a hole;
 * `lsn` is that of the last record applied, and a record is applied at most once because of it.
 */
import { VERSION_NONE } from './store-node.ts';

/** In `segments`: nothing is stored for the block. */
export const SEGMENT_HOLE = 0;
export const SEGMENT_ZERO = 0xffffffff;

const TABLE_BLOCKS_MIN = 16;
const TABLE_BYTES_PER_BLOCK = 4 + 4 + 2;
const NO_WORDS = new Uint32Array(0);
const NO_POSITIONS = new Uint16Array(0);

/**
 * The entry, its arrays' headers and buffer and its place in a map: 0.8 to 1 KB of resident memory
 * each, measured with 100,000 entries of 16 to 1024 blocks.
 */
const ENTRY_BYTES = 1000;

/** What a write on its way to the log offers to the writes that follow it on the same object. */
export interface PendingChange {
  readonly targetEpoch: number;
  readonly targetSeq: number;
  /** The one before it on the same object, if that is on its way too. */
  readonly previousPending: PendingChange | undefined;
}

export class ObjectEntry {
  readonly layerId: number;
  readonly objectIndex: number;
  readonly key: number;
  epoch: number = VERSION_NONE.epoch;
  seq: number = VERSION_NONE.seq;
  lsn = 0;
  /** The newest change of its version on its way to the log. */
  lastPending: PendingChange | undefined;
  /** Records on their way to the log that hold this entry. */
  queuedRecords = 0;
  segments = NO_WORDS;
  crcs = NO_WORDS;
  positions = NO_POSITIONS;

  constructor(layerId: number, objectIndex: number, key: number, tableBlocks = 0) {
    this.layerId = layerId;
    this.objectIndex = objectIndex;
    this.key = key;
    if (tableBlocks > 0) this.#allocate(tableBlocks);
  }

  get tableBlocks(): number {
    return this.segments.length;
  }

  get bytes(): number {
    return ENTRY_BYTES + this.tableBlocks * TABLE_BYTES_PER_BLOCK;
  }

  get exists(): boolean {
    return this.seq !== VERSION_NONE.seq || this.epoch !== VERSION_NONE.epoch;
  }

  get newestEpoch(): number {
    return this.lastPending?.targetEpoch ?? this.epoch;
  }

  get newestSeq(): number {
    return this.lastPending?.targetSeq ?? this.seq;
  }

  /** Makes the table reach `endBlock`; returns the bytes that it grew by. */
  reach(endBlock: number): number {
    if (endBlock <= this.tableBlocks) return 0;
    let blocks = Math.max(TABLE_BLOCKS_MIN, this.tableBlocks);
    while (blocks < endBlock) blocks *= 2;
    const grownBytes = (blocks - this.tableBlocks) * TABLE_BYTES_PER_BLOCK;
    const { segments, positions, crcs } = this;
    this.#allocate(blocks);
    this.segments.set(segments);
    this.positions.set(positions);
    this.crcs.set(crcs);
    return grownBytes;
  }

  /** Three arrays over one buffer: half the memory of three buffers for a small table. */
  #allocate(blocks: number): void {
    const buffer = new ArrayBuffer(blocks * TABLE_BYTES_PER_BLOCK);
    this.segments = new Uint32Array(buffer, 0, blocks);
    this.crcs = new Uint32Array(buffer, blocks * 4, blocks);
    this.positions = new Uint16Array(buffer, blocks * 8, blocks);
  }
}

/** True for a value of `segments` that names a segment. */
export function isStored(segment: number): boolean {
  return segment !== SEGMENT_HOLE && segment !== SEGMENT_ZERO;
}
