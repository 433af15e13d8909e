/**
 * A piece of page-aligned memory, lent out in buffers of a power of two of pages.
 *
 * Owns: which of its pages are lent, lost or free, and one `Buffer` for each place that was ever
 * lent, so that lending again makes nothing new. Does not own: how many pieces there are.
 * Invariants: a page is free, lent or lost, and `freePages + lentPages + lostPages` is all of them;
 * no two buffers lent overlap; two free halves of a whole are that whole.
 *
 * This is the buddy system: a run of `2 ** order` pages begins at a multiple of its length, and its
 * other half (its buddy) is found by changing one bit of its first page. The run that came back
 * last is lent first, its lower half before the upper, so that the same pages, which are mapped and
 * in the processor's cache, are used over and over.
 */
import { ALIGNMENT_BYTES, alignedBuffer } from '../runtime/aligned-buffer.ts';
import { PAYLOAD_BUFFER_BYTES_MAX, PAYLOAD_PIECE_BYTES } from './limits.ts';

const PAGES = PAYLOAD_PIECE_BYTES / ALIGNMENT_BYTES;
const ORDER_MAX = orderOf(PAYLOAD_BUFFER_BYTES_MAX);
const NOWHERE = -1;

/** What a run is, at its first page, with its order added; 0 at all other pages. */
const FREE = 0x10;
const LENT = 0x20;
const LOST = 0x40;

/** Hot path. The largest order whose runs are not longer than so many bytes. */
export function orderOf(bytes: number): number {
  return 31 - Math.clz32(bytes / ALIGNMENT_BYTES);
}

export class PayloadPiece {
  readonly #bytes = alignedBuffer(PAYLOAD_PIECE_BYTES);
  readonly #runs = new Uint8Array(PAGES);
  /** Free runs of each order, linked both ways; bit `order` of `#freeOrders` says there are any. */
  readonly #first = new Int16Array(ORDER_MAX + 1).fill(NOWHERE);
  readonly #next = new Int16Array(PAGES);
  readonly #previous = new Int16Array(PAGES);
  #freeOrders = 0;
  /** Of a run: at `(PAGES + page) >> order`, which no other run has. */
  readonly #buffers: (Buffer | undefined)[] = new Array(2 * PAGES).fill(undefined);
  freePages = PAGES;
  lentPages = 0;
  lostPages = 0;

  constructor() {
    const pages = 1 << ORDER_MAX;
    for (let page = PAGES - pages; page >= 0; page -= pages) this.#link(page, ORDER_MAX);
  }

  /** What the buffers lent are views of. */
  get memory(): ArrayBufferLike {
    return this.#bytes.buffer;
  }

  /** Hot path. A buffer of `2 ** order` pages with any content; undefined if there is none free. */
  take(order: number): Buffer | undefined {
    const fitting = (this.#freeOrders >> order) << order;
    if (fitting === 0) return undefined;
    let found = 31 - Math.clz32(fitting & -fitting);
    const page = this.#first[found]!;
    this.#unlink(page, found);
    while (found > order) {
      found -= 1;
      this.#link(page + (1 << found), found);
    }
    this.#runs[page] = LENT | order;
    this.freePages -= 1 << order;
    this.lentPages += 1 << order;
    return this.#bufferOf(page, order);
  }

  /** Hot path. Takes a buffer back that was lent: nobody may look at it any more. */
  give(buffer: Buffer): void {
    let order = orderOf(buffer.length);
    let page = this.#endLoan(buffer, order);
    this.freePages += 1 << order;
    this.#runs[page] = 0;
    while (order < ORDER_MAX) {
      const buddy = page ^ (1 << order);
      if (this.#runs[buddy] !== (FREE | order)) break;
      this.#unlink(buddy, order);
      page &= buddy;
      order += 1;
    }
    this.#link(page, order);
  }

  /** A buffer that was lent will never come back: its pages are not used any more. */
  lose(buffer: Buffer): void {
    const order = orderOf(buffer.length);
    const page = this.#endLoan(buffer, order);
    this.#runs[page] = LOST | order;
    this.lostPages += 1 << order;
  }

  /** Hot path. Returns the first page. To end a loan twice would let two requests share memory. */
  #endLoan(buffer: Buffer, order: number): number {
    const page = (buffer.byteOffset - this.#bytes.byteOffset) / ALIGNMENT_BYTES;
    if (this.#runs[page] !== (LENT | order) || buffer.length !== ALIGNMENT_BYTES << order) {
      throw new Error(`${buffer.length} bytes at page ${page} are not lent`);
    }
    this.lentPages -= 1 << order;
    return page;
  }

  /** Hot path. */
  #bufferOf(page: number, order: number): Buffer {
    const place = (PAGES + page) >> order;
    const known = this.#buffers[place];
    if (known !== undefined) return known;
    const start = page * ALIGNMENT_BYTES;
    const buffer = this.#bytes.subarray(start, start + (ALIGNMENT_BYTES << order));
    this.#buffers[place] = buffer;
    return buffer;
  }

  /** Hot path. */
  #link(page: number, order: number): void {
    const next = this.#first[order]!;
    this.#runs[page] = FREE | order;
    this.#next[page] = next;
    this.#previous[page] = NOWHERE;
    if (next !== NOWHERE) this.#previous[next] = page;
    this.#first[order] = page;
    this.#freeOrders |= 1 << order;
  }

  /** Hot path. */
  #unlink(page: number, order: number): void {
    const next = this.#next[page]!;
    const previous = this.#previous[page]!;
    this.#runs[page] = 0;
    if (next !== NOWHERE) this.#previous[next] = previous;
    if (previous !== NOWHERE) this.#next[previous] = next;
    else this.#first[order] = next;
    if (this.#first[order] === NOWHERE) this.#freeOrders &= ~(1 << order);
  }
}
