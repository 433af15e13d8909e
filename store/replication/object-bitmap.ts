/**
 * A set of object indexes, small where it is sparse and small where it is full.
 *
 * Owns: pages of 8192 bits made on demand. A full volume of 16 million objects takes 2 MiB, an
 * empty set nothing. Invariant: `count` is the number of bits set.
 */
const PAGE_BITS = 8192;
const PAGE_WORDS = PAGE_BITS / 32;

export class ObjectBitmap {
  readonly #pages = new Map<number, Uint32Array>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  has(objectIndex: number): boolean {
    const page = this.#pages.get(Math.floor(objectIndex / PAGE_BITS));
    if (page === undefined) return false;
    const bit = objectIndex % PAGE_BITS;
    return (page[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  add(objectIndex: number): void {
    const pageIndex = Math.floor(objectIndex / PAGE_BITS);
    let page = this.#pages.get(pageIndex);
    if (page === undefined) {
      page = new Uint32Array(PAGE_WORDS);
      this.#pages.set(pageIndex, page);
    }
    const bit = objectIndex % PAGE_BITS;
    const mask = 1 << (bit & 31);
    if ((page[bit >>> 5]! & mask) !== 0) return;
    page[bit >>> 5]! |= mask;
    this.#count += 1;
  }

  delete(objectIndex: number): void {
    const page = this.#pages.get(Math.floor(objectIndex / PAGE_BITS));
    if (page === undefined) return;
    const bit = objectIndex % PAGE_BITS;
    const mask = 1 << (bit & 31);
    if ((page[bit >>> 5]! & mask) === 0) return;
    page[bit >>> 5]! &= ~mask;
    this.#count -= 1;
  }

  clear(): void {
    this.#pages.clear();
    this.#count = 0;
  }

  /** The members, pages in the order of their making; the set may change meanwhile. */
  *[Symbol.iterator](): Generator<number> {
    for (const [pageIndex, page] of this.#pages) {
      for (let word = 0; word < PAGE_WORDS; word++) {
        if (page[word] === 0) continue;
        for (let bit = 0; bit < 32; bit++) {
          if ((page[word]! & (1 << bit)) !== 0) yield pageIndex * PAGE_BITS + word * 32 + bit;
        }
      }
    }
  }
}
