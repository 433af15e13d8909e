/**
 * One object in memory: its version and where each of its blocks lies.
 *
 * Owns: the block table and the versions of writes that are on their way. Does not own: which
 * entries are in memory (object-index.ts), and live counts.
 * Invariants: the table changes only when a record is durable; `lsn` is that of the last record
 * applied, and a record is applied at most once because of it.
 *
 * The table is made of pages of 32 blocks, side by side in one array in the order in which they
 * were first needed; `#places` says where. A page that is all holes or all zeros has no place, and a
 * block beyond the last page is a hole. So an object of which one block was written costs a page,
 * not a table: with one for all blocks, making it (10 KiB of fresh memory) was the largest part of
 * what the first write of an object of 4 MiB cost.
 */
import assert from 'node:assert';
import { VERSION_NONE } from './store-node.ts';

/** In place of a segment's id: nothing is stored for the block. */
export const SEGMENT_HOLE = 0;
export const SEGMENT_ZERO = 0xffffffff;

const PAGE_SHIFT = 5;
export const PAGE_BLOCKS = 1 << PAGE_SHIFT;
const PAGE_MASK = PAGE_BLOCKS - 1;
/** A page: the segments of its blocks, their checksums, their positions (16 bits each). */
const CRCS_AT = PAGE_BLOCKS;
const POSITIONS_AT = 2 * PAGE_BLOCKS;
const PAGE_WORDS = POSITIONS_AT + PAGE_BLOCKS / 2;

/** In `#places`, for pages whose blocks are all the same. */
const ALL_HOLES = -1;
const ALL_ZEROS = -2;

const NO_WORDS = new Uint32Array(0);
const NO_PLACES: readonly number[] = [];

/**
 * The entry, its array's header and its place in a map: 0.8 to 1 KB of resident memory each,
 * measured with 100,000 entries of 32 to 1024 blocks.
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
  #words = NO_WORDS;
  #usedPages = 0;
  #places = NO_PLACES as number[];

  constructor(layerId: number, objectIndex: number, key: number) {
    this.layerId = layerId;
    this.objectIndex = objectIndex;
    this.key = key;
  }

  /** Every block from here on is a hole. */
  get tableBlocks(): number {
    return this.#places.length * PAGE_BLOCKS;
  }

  get bytes(): number {
    return ENTRY_BYTES + this.#words.length * 4;
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

  /** Hot path. The segment that holds a block, or `SEGMENT_HOLE` or `SEGMENT_ZERO`. */
  segmentAt(block: number): number {
    const page = block >> PAGE_SHIFT;
    if (page >= this.#places.length) return SEGMENT_HOLE;
    const place = this.#places[page]!;
    if (place < 0) return markOf(place);
    return this.#words[place * PAGE_WORDS + (block & PAGE_MASK)]!;
  }

  /** Hot path. Of a block that a segment holds: where in it, in blocks. */
  positionAt(block: number): number {
    const offset = block & PAGE_MASK;
    const pair = this.#words[this.#pageStart(block) + POSITIONS_AT + (offset >> 1)]!;
    return (pair >>> ((offset & 1) << 4)) & 0xffff;
  }

  /** Hot path. Of a block that a segment holds. */
  crcAt(block: number): number {
    return this.#words[this.#pageStart(block) + CRCS_AT + (block & PAGE_MASK)]!;
  }

  /** Whether the block lies at this place. */
  isAt(block: number, segmentId: number, position: number): boolean {
    return this.segmentAt(block) === segmentId && this.positionAt(block) === position;
  }

  /** So many blocks from this one on are known to be the same: all holes, or all zeros. */
  uniformBlocks(block: number): number {
    const page = block >> PAGE_SHIFT;
    const place = page < this.#places.length ? this.#places[page]! : ALL_HOLES;
    if (place >= 0) return 1;
    let next = page + 1;
    while (next < this.#places.length && this.#places[next] === place) next += 1;
    return (next << PAGE_SHIFT) - block;
  }

  /** Hot path. To be called before `put`: blocks from `start` on get places in the table. */
  reach(start: number, endExclusive: number): void {
    const lastPage = (endExclusive - 1) >> PAGE_SHIFT;
    this.#name(lastPage);
    let missing = 0;
    for (let page = start >> PAGE_SHIFT; page <= lastPage; page += 1) {
      if (this.#places[page]! < 0) missing += 1;
    }
    if (missing === 0) return;
    this.#makeRoom(this.#usedPages + missing);
    for (let page = start >> PAGE_SHIFT; page <= lastPage; page += 1) {
      const place = this.#places[page]!;
      if (place >= 0) continue;
      const first = this.#usedPages * PAGE_WORDS;
      this.#words.fill(markOf(place), first, first + CRCS_AT);
      this.#places[page] = this.#usedPages;
      this.#usedPages += 1;
    }
  }

  /** Hot path. A segment holds the block now; `reach` has made a place for it. */
  put(block: number, segmentId: number, position: number, crc: number): void {
    const start = this.#pageStart(block);
    const offset = block & PAGE_MASK;
    this.#words[start + offset] = segmentId;
    this.#words[start + CRCS_AT + offset] = crc;
    const pairAt = start + POSITIONS_AT + (offset >> 1);
    const shift = (offset & 1) << 4;
    const other = this.#words[pairAt]! & (0xffff0000 >>> shift);
    this.#words[pairAt] = other | (position << shift);
  }

  /** Makes blocks holes or zeros. Pages that are so as a whole give their places back. */
  mark(start: number, endExclusive: number, mark: typeof SEGMENT_HOLE | typeof SEGMENT_ZERO): void {
    const uniform = mark === SEGMENT_ZERO ? ALL_ZEROS : ALL_HOLES;
    const isHole = mark === SEGMENT_HOLE;
    const end = isHole ? Math.min(endExclusive, this.tableBlocks) : endExclusive;
    if (start >= end) return;
    this.#name((end - 1) >> PAGE_SHIFT);
    for (let block = start; block < end; ) {
      const page = block >> PAGE_SHIFT;
      const pageEnd = (page + 1) << PAGE_SHIFT;
      const next = Math.min(pageEnd, end);
      if (next - block === PAGE_BLOCKS) {
        this.#release(page);
        this.#places[page] = uniform;
      } else if (this.#places[page] !== uniform) {
        this.reach(block, next);
        const first = this.#pageStart(block);
        this.#words.fill(mark, first + (block & PAGE_MASK), first + ((next - 1) & PAGE_MASK) + 1);
      }
      block = next;
    }
  }

  /** Makes all blocks holes. */
  clear(): void {
    this.#words = NO_WORDS;
    this.#usedPages = 0;
    this.#places = NO_PLACES as number[];
  }

  #pageStart(block: number): number {
    return this.#places[block >> PAGE_SHIFT]! * PAGE_WORDS;
  }

  /** Makes the table know pages up to this one. */
  #name(lastPage: number): void {
    const known = this.#places.length;
    if (lastPage < known) return;
    const places = new Array<number>(lastPage + 1).fill(ALL_HOLES);
    for (let page = 0; page < known; page += 1) places[page] = this.#places[page]!;
    this.#places = places;
  }

  #makeRoom(pages: number): void {
    let roomPages = this.#words.length / PAGE_WORDS;
    if (pages <= roomPages) return;
    // Twice the room, so that a table that fills up is not copied for every page of it.
    for (roomPages = Math.max(1, roomPages); roomPages < pages; ) roomPages *= 2;
    const words = new Uint32Array(roomPages * PAGE_WORDS);
    words.set(this.#words);
    this.#words = words;
  }

  /** Takes a page's place away; the last place moves there, so that there is no gap. */
  #release(page: number): void {
    const place = this.#places[page]!;
    if (place < 0) return;
    const last = this.#usedPages - 1;
    if (place !== last) {
      const from = last * PAGE_WORDS;
      this.#words.copyWithin(place * PAGE_WORDS, from, from + PAGE_WORDS);
      const moved = this.#places.indexOf(last);
      assert(moved >= 0, 'a place in use belongs to no page');
      this.#places[moved] = place;
    }
    this.#usedPages = last;
  }
}

function markOf(place: number): typeof SEGMENT_HOLE | typeof SEGMENT_ZERO {
  return place === ALL_ZEROS ? SEGMENT_ZERO : SEGMENT_HOLE;
}

/** True for what `segmentAt` says of a block that a segment holds. */
export function isStored(segment: number): boolean {
  return segment !== SEGMENT_HOLE && segment !== SEGMENT_ZERO;
}
