/**
 * State and slot of every block of every cached object.
 *
 * Owns: the entries, in pages of 64 blocks taken from one pool, and the count of blocks by state.
 * Does not own: the slots that entries name.
 * Invariants: an entry is `slot << 4 | state`, slot 0 for states without one; a page whose blocks
 * are all in one state without a slot may take no memory: `~state` stands for it in the object.
 * So an object with one resident block costs one page, and a trimmed or a never written one none.
 */
import assert from 'node:assert';
import { BlockState, failMove, isLegalMove, STATE_COUNT } from './block-states.ts';
import type { CachedObject } from './cached-object.ts';
import { PAGE_BLOCKS, PAGE_SHIFT } from './limits.ts';

const STATE_BITS = 4;
const STATE_MASK = 15;
const PAGE_MASK = PAGE_BLOCKS - 1;

/** Hot path. */
export function entryOf(state: number, slot: number): number {
  return (slot << STATE_BITS) | state;
}

/** Hot path. */
export function stateOf(entry: number): number {
  return entry & STATE_MASK;
}

/** Hot path. */
export function slotOf(entry: number): number {
  return entry >>> STATE_BITS;
}

export class BlockTable {
  /** Blocks in each state; those of `absent` are not counted. */
  readonly counts = new Float64Array(STATE_COUNT);
  freePages: number;
  readonly pagesMax: number;
  readonly #entries: Int32Array;
  readonly #free: Int32Array;

  constructor(pagesMax: number) {
    this.pagesMax = pagesMax;
    this.freePages = pagesMax;
    this.#entries = new Int32Array(pagesMax * PAGE_BLOCKS);
    this.#free = new Int32Array(pagesMax);
    for (let i = 0; i < pagesMax; i += 1) this.#free[i] = pagesMax - 1 - i;
  }

  /** Hot path. */
  get(object: CachedObject, block: number): number {
    const page = object.pages[block >> PAGE_SHIFT]!;
    return page < 0 ? ~page : this.#entries[(page << PAGE_SHIFT) | (block & PAGE_MASK)]!;
  }

  /** Hot path. The caller has made sure that a page is free if the block's page has none. */
  set(object: CachedObject, block: number, entry: number): void {
    let page = object.pages[block >> PAGE_SHIFT]!;
    if (page < 0) page = this.#giveMemory(object, block >> PAGE_SHIFT);
    const at = (page << PAGE_SHIFT) | (block & PAGE_MASK);
    const from = this.#entries[at]! & STATE_MASK;
    const to = entry & STATE_MASK;
    if (!isLegalMove(from, to)) failMove(from, to);
    this.#entries[at] = entry;
    if (from !== BlockState.absent) this.counts[from]! -= 1;
    if (to !== BlockState.absent) this.counts[to]! += 1;
  }

  /** How many pages `set` will take for the blocks from `first` to `last`. */
  pagesNeeded(object: CachedObject, first: number, last: number): number {
    let needed = 0;
    for (let page = first >> PAGE_SHIFT; page <= last >> PAGE_SHIFT; page += 1) {
      if (object.pages[page]! < 0) needed += 1;
    }
    return needed;
  }

  /** The one state of a page without memory; `undefined` if its blocks have entries. */
  uniformState(object: CachedObject, page: number): number | undefined {
    const id = object.pages[page]!;
    return id < 0 ? ~id : undefined;
  }

  /** Moves a whole page into one state without a slot; the caller has taken care of its slots. */
  setUniform(object: CachedObject, page: number, state: number): void {
    const id = object.pages[page]!;
    if (id < 0) {
      this.#recount(~id, -object.pageBlocks);
      if (~id !== state && !isLegalMove(~id, state)) failMove(~id, state);
    } else {
      for (let i = 0; i < object.pageBlocks; i += 1) {
        const from = this.#entries[(id << PAGE_SHIFT) | i]! & STATE_MASK;
        this.#recount(from, -1);
      }
      this.#free[this.freePages] = id;
      this.freePages += 1;
    }
    object.pages[page] = ~state;
    this.#recount(state, object.pageBlocks);
  }

  /** Gives a new object its first state, `absent` or `hole`. */
  start(object: CachedObject, state: number): void {
    object.pages.fill(~state);
    this.#recount(state, object.pages.length * object.pageBlocks);
  }

  #recount(state: number, blocks: number): void {
    if (state !== BlockState.absent) this.counts[state]! += blocks;
  }

  #giveMemory(object: CachedObject, page: number): number {
    assert(this.freePages > 0, 'a page was taken where none is free');
    this.freePages -= 1;
    const id = this.#free[this.freePages]!;
    const state = ~object.pages[page]!;
    this.#entries.fill(state, id << PAGE_SHIFT, (id << PAGE_SHIFT) + object.pageBlocks);
    object.pages[page] = id;
    return id;
  }
}
