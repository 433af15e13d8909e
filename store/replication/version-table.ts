/**
 * The version of every object of an attached volume, in the memory of its writer.
 *
 * Owns: the versions, in pages of typed arrays made on demand: 12 bytes an object (the 16 million
 * objects of a full volume of 64 TiB take 200 MB, an untouched page nothing). Does not own: where
 * the versions come from.
 * Invariant: an object that was never written has epoch 0 and seq 0, and none other has epoch 0.
 */
import { VERSION_NONE, type Version } from '../engine/store-node.ts';

/** 48 KiB a page: small beside what a page's objects hold, large beside the entry of the map. */
const PAGE_OBJECTS = 4096;
const PAGE_SHIFT = 12;
const PAGE_MASK = PAGE_OBJECTS - 1;

class VersionPage {
  readonly epochs = new Uint32Array(PAGE_OBJECTS);
  readonly seqs = new Float64Array(PAGE_OBJECTS);
  count = 0;
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
    return this.#pages.size * PAGE_OBJECTS * 12;
  }

  /** Hot path. The epoch of the object's version; 0 if it was never written. */
  epochOf(objectIndex: number): number {
    const page = this.#pageOf(objectIndex);
    return page === undefined ? 0 : page.epochs[objectIndex & PAGE_MASK]!;
  }

  /** Hot path. The seq of the object's version; 0 if it was never written. */
  seqOf(objectIndex: number): number {
    const page = this.#pageOf(objectIndex);
    return page === undefined ? 0 : page.seqs[objectIndex & PAGE_MASK]!;
  }

  get(objectIndex: number): Version {
    const page = this.#pageOf(objectIndex);
    if (page === undefined) return VERSION_NONE;
    const at = objectIndex & PAGE_MASK;
    return { epoch: page.epochs[at]!, seq: page.seqs[at]! };
  }

  /** Hot path. `VERSION_NONE` forgets the object. */
  set(objectIndex: number, version: Version): void {
    let page = this.#pageOf(objectIndex);
    if (page === undefined) {
      if (version.epoch === 0) return;
      page = this.#addPage(objectIndex);
    }
    const at = objectIndex & PAGE_MASK;
    const added = (version.epoch === 0 ? 0 : 1) - (page.epochs[at] === 0 ? 0 : 1);
    page.epochs[at] = version.epoch;
    page.seqs[at] = version.seq;
    if (added === 0) return;
    page.count += added;
    this.#objectCount += added;
    if (page.count === 0) this.#removePage(objectIndex);
  }

  /**
   * The first written object from `fromIndex` on, or -1. Pages without objects cost nothing, so
   * walking a sparse volume costs what is in it.
   */
  nextIndex(fromIndex: number): number {
    let pageNumber = Math.floor(fromIndex / PAGE_OBJECTS);
    let at = fromIndex % PAGE_OBJECTS;
    for (;;) {
      const page = this.#pages.get(pageNumber);
      if (page !== undefined) {
        for (; at < PAGE_OBJECTS; at++) {
          if (page.epochs[at] !== 0) return pageNumber * PAGE_OBJECTS + at;
        }
      }
      const next = this.#pageAfter(pageNumber);
      if (next === undefined) return -1;
      pageNumber = next;
      at = 0;
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

  #removePage(objectIndex: number): void {
    this.#pages.delete(objectIndex >>> PAGE_SHIFT);
    this.#lastPage = undefined;
  }
}
