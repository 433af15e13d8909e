/**
 * The version of every object of an attached volume, in the memory of its writer.
 *
 * Owns: the versions, in pages made on demand. Does not own: where the versions come from.
 * Memory follows what was written, not the volume: a page with few objects lists them, 14 bytes
 * each, and becomes a full one, 12 bytes for every object it could have, when that is less. So the
 * 16 million objects of a full volume of 64 TiB take 200 MB, every 64th of them 8 MB.
 * Invariants: an object that was never written has epoch 0 and seq 0, and none other has epoch 0;
 * a page has an object; the offsets of a listing page ascend.
 */
import { VERSION_NONE, type Version } from '../engine/store-node.ts';

const PAGE_OBJECTS = 4096;
const PAGE_SHIFT = 12;
const PAGE_MASK = PAGE_OBJECTS - 1;
const FULL_BYTES_EACH = 4 + 8;
const LISTED_BYTES_EACH = 2 + FULL_BYTES_EACH;

const LISTED_MIN = 8;
/** Beyond it a page is full: 2048 listed take 28 KiB, a full page 48 KiB, and a search gets long. */
const LISTED_MAX = 2048;

class VersionPage {
  /** The objects that the page lists, by their place in it; `undefined` once it is full. */
  #offsets: Uint16Array | undefined = new Uint16Array(LISTED_MIN);
  epochs = new Uint32Array(LISTED_MIN);
  seqs = new Float64Array(LISTED_MIN);
  count = 0;

  get bytes(): number {
    const each = this.#offsets === undefined ? FULL_BYTES_EACH : LISTED_BYTES_EACH;
    return this.epochs.length * each;
  }

  /** Hot path. Where the object is in `epochs` and `seqs`; below 0 if the page does not have it. */
  find(offset: number): number {
    if (this.#offsets === undefined) return this.epochs[offset] === 0 ? -1 : offset;
    const at = atOrAfter(this.#offsets, offset, this.count);
    return at < this.count && this.#offsets[at] === offset ? at : -1;
  }

  /** Takes in an object that the page does not have; where it is then. */
  add(offset: number): number {
    const isListing = this.#offsets !== undefined;
    if (isListing && this.count === LISTED_MAX) this.#becomeFull();
    else if (isListing && this.count === this.epochs.length) this.#grow();
    const offsets = this.#offsets;
    const end = this.count;
    this.count += 1;
    if (offsets === undefined) return offset;
    const at = atOrAfter(offsets, offset, end);
    offsets.copyWithin(at + 1, at, end);
    this.epochs.copyWithin(at + 1, at, end);
    this.seqs.copyWithin(at + 1, at, end);
    offsets[at] = offset;
    return at;
  }

  /** Forgets the object that `find` found there. */
  remove(at: number): void {
    const offsets = this.#offsets;
    this.count -= 1;
    if (offsets === undefined) {
      this.epochs[at] = 0;
      this.seqs[at] = 0;
      return;
    }
    offsets.copyWithin(at, at + 1, this.count + 1);
    this.epochs.copyWithin(at, at + 1, this.count + 1);
    this.seqs.copyWithin(at, at + 1, this.count + 1);
  }

  /** The first object of the page from `offset` on, or -1. */
  next(offset: number): number {
    const offsets = this.#offsets;
    if (offsets !== undefined) {
      const at = atOrAfter(offsets, offset, this.count);
      return at < this.count ? offsets[at]! : -1;
    }
    for (let at = offset; at < PAGE_OBJECTS; at += 1) if (this.epochs[at] !== 0) return at;
    return -1;
  }

  #grow(): void {
    const { epochs, seqs } = this;
    const offsets = this.#offsets!;
    this.#offsets = new Uint16Array(2 * offsets.length);
    this.epochs = new Uint32Array(2 * epochs.length);
    this.seqs = new Float64Array(2 * seqs.length);
    this.#offsets.set(offsets);
    this.epochs.set(epochs);
    this.seqs.set(seqs);
  }

  #becomeFull(): void {
    const { epochs, seqs } = this;
    const offsets = this.#offsets!;
    this.#offsets = undefined;
    this.epochs = new Uint32Array(PAGE_OBJECTS);
    this.seqs = new Float64Array(PAGE_OBJECTS);
    for (let at = 0; at < this.count; at += 1) {
      this.epochs[offsets[at]!] = epochs[at]!;
      this.seqs[offsets[at]!] = seqs[at]!;
    }
  }
}

/** Hot path. The place of the first of `count` listed objects that is not before `offset`. */
function atOrAfter(offsets: Uint16Array, offset: number, count: number): number {
  // They mostly come in their order.
  if (count > 0 && offsets[count - 1]! < offset) return count;
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (offsets[middle]! < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class VersionTable {
  readonly #pages = new Map<number, VersionPage>();
  #objectCount = 0;
  /** The page used last; neighbouring objects mostly follow one another. */
  #lastPage: VersionPage | undefined;
  #lastPageNumber = -1;

  /** Objects that were written. */
  get objectCount(): number {
    return this.#objectCount;
  }

  /** Memory that the pages take. */
  get pageBytes(): number {
    let bytes = 0;
    for (const page of this.#pages.values()) bytes += page.bytes;
    return bytes;
  }

  /** Hot path. The epoch of the object's version; 0 if it was never written. */
  epochOf(objectIndex: number): number {
    const page = this.#pageOf(objectIndex);
    const at = page === undefined ? -1 : page.find(objectIndex & PAGE_MASK);
    return at < 0 ? 0 : page!.epochs[at]!;
  }

  /** Hot path. The seq of the object's version; 0 if it was never written. */
  seqOf(objectIndex: number): number {
    const page = this.#pageOf(objectIndex);
    const at = page === undefined ? -1 : page.find(objectIndex & PAGE_MASK);
    return at < 0 ? 0 : page!.seqs[at]!;
  }

  get(objectIndex: number): Version {
    const page = this.#pageOf(objectIndex);
    const at = page === undefined ? -1 : page.find(objectIndex & PAGE_MASK);
    return at < 0 ? VERSION_NONE : { epoch: page!.epochs[at]!, seq: page!.seqs[at]! };
  }

  /** Hot path. `VERSION_NONE` forgets the object. */
  set(objectIndex: number, version: Version): void {
    const offset = objectIndex & PAGE_MASK;
    let page = this.#pageOf(objectIndex);
    let at = page === undefined ? -1 : page.find(offset);
    if (version.epoch === 0) {
      if (at >= 0) this.#remove(objectIndex, page!, at);
      return;
    }
    if (at < 0) {
      page ??= this.#addPage(objectIndex);
      at = page.add(offset);
      this.#objectCount += 1;
    }
    page!.epochs[at] = version.epoch;
    page!.seqs[at] = version.seq;
  }

  /**
   * The first written object from `fromIndex` on, or -1. Pages without objects cost nothing, so
   * walking a sparse volume costs what is in it.
   */
  nextIndex(fromIndex: number): number {
    let pageNumber = Math.floor(fromIndex / PAGE_OBJECTS);
    let offset = fromIndex % PAGE_OBJECTS;
    for (;;) {
      const found = this.#pages.get(pageNumber)?.next(offset) ?? -1;
      if (found >= 0) return pageNumber * PAGE_OBJECTS + found;
      const next = this.#pageAfter(pageNumber);
      if (next === undefined) return -1;
      pageNumber = next;
      offset = 0;
    }
  }

  #pageAfter(pageNumber: number): number | undefined {
    if (this.#pages.has(pageNumber + 1)) return pageNumber + 1;
    let next: number | undefined;
    for (const number of this.#pages.keys()) {
      if (number > pageNumber && (next === undefined || number < next)) next = number;
    }
    return next;
  }

  #pageOf(objectIndex: number): VersionPage | undefined {
    const pageNumber = objectIndex >>> PAGE_SHIFT;
    if (pageNumber === this.#lastPageNumber) return this.#lastPage;
    this.#lastPageNumber = pageNumber;
    this.#lastPage = this.#pages.get(pageNumber);
    return this.#lastPage;
  }

  #addPage(objectIndex: number): VersionPage {
    const page = new VersionPage();
    this.#pages.set(objectIndex >>> PAGE_SHIFT, page);
    this.#lastPage = page;
    return page;
  }

  #remove(objectIndex: number, page: VersionPage, at: number): void {
    page.remove(at);
    this.#objectCount -= 1;
    if (page.count > 0) return;
    this.#pages.delete(objectIndex >>> PAGE_SHIFT);
    this.#lastPage = undefined;
  }
}
