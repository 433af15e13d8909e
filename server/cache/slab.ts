/**
 * The memory of all cached blocks: slots of one block each, taken and given back.
 *
 * Owns: the bytes and the list of free slots. Does not own: what a slot means to whom.
 * Invariants: a slot is free or in use by one owner; `freeSlots` is the number of free ones.
 *
 * The memory is cut into chunks of 1 GiB because `Buffer.copy` loses the upper bits of an offset
 * beyond 4 GiB (seen with Node 24: bytes read from another place, no error). It is aligned, so that
 * an embedded node writes a slot to its disk as it is.
 */
import assert from 'node:assert';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import { alignedBuffer } from '../../store/runtime/aligned-buffer.ts';

const CHUNK_SHIFT = 18;
const CHUNK_SLOTS = 2 ** CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_SLOTS - 1;
const BLOCK_SHIFT = Math.log2(BLOCK_BYTES);

export class Slab {
  readonly slots: number;
  freeSlots: number;
  readonly #chunks: Buffer[] = [];
  /** A stack: what was given back last is taken first, while the processor still has its bytes. */
  readonly #free: Int32Array;
  readonly #inUse: Uint8Array;

  constructor(slots: number) {
    this.slots = slots;
    this.freeSlots = slots;
    this.#free = new Int32Array(slots);
    this.#inUse = new Uint8Array(slots);
    // Taken in ascending order, so that blocks written one after another lie side by side.
    for (let i = 0; i < slots; i += 1) this.#free[i] = slots - 1 - i;
    for (let first = 0; first < slots; first += CHUNK_SLOTS) {
      const chunkSlots = Math.min(CHUNK_SLOTS, slots - first);
      this.#chunks.push(alignedBuffer(chunkSlots * BLOCK_BYTES));
    }
  }

  /** Hot path. The caller has made sure that one is free. */
  take(): number {
    assert(this.freeSlots > 0, 'a slot was taken where none is free');
    this.freeSlots -= 1;
    const slot = this.#free[this.freeSlots]!;
    this.#inUse[slot] = 1;
    return slot;
  }

  /** Hot path. Give a run back from its end, and it is taken again in ascending order. */
  give(slot: number): void {
    if (this.#inUse[slot] !== 1) assert.fail(`slot ${slot} was given back twice`);
    this.#inUse[slot] = 0;
    this.#free[this.freeSlots] = slot;
    this.freeSlots += 1;
  }

  /** Hot path. True if the bytes of `slot` lie right after those of `previous`. */
  follows(previous: number, slot: number): boolean {
    return slot === previous + 1 && (slot & CHUNK_MASK) !== 0;
  }

  /** Hot path. Copies into a slot and those that follow it; `within` counts bytes from its start. */
  copyIn(slot: number, within: number, source: Buffer, sourceStart: number, bytes: number): void {
    const at = ((slot & CHUNK_MASK) << BLOCK_SHIFT) + within;
    source.copy(this.#chunks[slot >> CHUNK_SHIFT]!, at, sourceStart, sourceStart + bytes);
  }

  /** Hot path. Copies out of a slot and those that follow it. */
  copyOut(slot: number, within: number, target: Buffer, targetStart: number, bytes: number): void {
    const at = ((slot & CHUNK_MASK) << BLOCK_SHIFT) + within;
    this.#chunks[slot >> CHUNK_SHIFT]!.copy(target, targetStart, at, at + bytes);
  }

  copySlot(from: number, to: number): void {
    const at = (to & CHUNK_MASK) << BLOCK_SHIFT;
    this.copyOut(from, 0, this.#chunks[to >> CHUNK_SHIFT]!, at, BLOCK_BYTES);
  }

  zero(slot: number, within: number, bytes: number): void {
    const at = ((slot & CHUNK_MASK) << BLOCK_SHIFT) + within;
    this.#chunks[slot >> CHUNK_SHIFT]!.fill(0, at, at + bytes);
  }

  /** Views of the slots' bytes in the order given, one for each run of neighbours. */
  views(slots: readonly number[]): Buffer[] {
    const views: Buffer[] = [];
    let start = 0;
    for (let i = 1; i <= slots.length; i += 1) {
      if (i < slots.length && this.follows(slots[i - 1]!, slots[i]!)) continue;
      const first = slots[start]!;
      const at = (first & CHUNK_MASK) << BLOCK_SHIFT;
      const end = at + (i - start) * BLOCK_BYTES;
      views.push(this.#chunks[first >> CHUNK_SHIFT]!.subarray(at, end));
      start = i;
    }
    return views;
  }
}
