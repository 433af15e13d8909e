/**
 * Versions of a layer's objects, in order: the pages on disk, with what changed since over them.
 *
 * Owns nothing; one call sees one state, because it does not wait for anything.
 */
import assert from 'node:assert';
import { versionPageBytes } from './index-codec.ts';
import { entriesOf, type IndexStore, indexKey, indexRange, keyMinor } from './index-store.ts';
import { readUint53, VERSION_BYTES, VERSION_ENTRY } from './layouts.ts';
import { VERSIONS_PER_PAGE, versionPageOf } from './limits.ts';
import type { ObjectIndex } from './object-index.ts';
import type { VersionPage } from './store-node.ts';

const WORD_BYTES = 4;
const VERSION_WORDS = VERSION_BYTES / WORD_BYTES;
assert.equal(VERSION_WORDS, 3);

class PageBuilder {
  readonly objectIndexes: Uint32Array;
  readonly epochs: Uint32Array;
  readonly seqs: Float64Array;
  count = 0;

  constructor(limit: number) {
    this.objectIndexes = new Uint32Array(limit);
    this.epochs = new Uint32Array(limit);
    this.seqs = new Float64Array(limit);
  }

  get isFull(): boolean {
    return this.count === this.seqs.length;
  }

  /** Objects that do not exist are left out. */
  add(objectIndex: number, epoch: number, seq: number): void {
    if (this.isFull || (epoch === 0 && seq === 0)) return;
    this.objectIndexes[this.count] = objectIndex;
    this.epochs[this.count] = epoch;
    this.seqs[this.count] = seq;
    this.count += 1;
  }

  finish(): VersionPage {
    return {
      count: this.count,
      objectIndexes: this.objectIndexes.subarray(0, this.count),
      epochs: this.epochs.subarray(0, this.count),
      seqs: this.seqs.subarray(0, this.count),
    };
  }
}

/**
 * A stored page, copied to where it can be looked through by words. In a large, thin volume most
 * places of most pages are empty, and what is done for each decides how long an attach takes.
 */
class ScannedPage {
  readonly #words = new Uint32Array((VERSIONS_PER_PAGE * VERSION_BYTES) / WORD_BYTES);
  readonly #bytes = Buffer.from(this.#words.buffer);

  load(stored: Buffer | undefined): void {
    versionPageBytes(stored).copy(this.#bytes);
  }

  /** Hot path. */
  isEmpty(place: number): boolean {
    const at = place * VERSION_WORDS;
    const words = this.#words;
    return (words[at]! | words[at + 1]! | words[at + 2]!) === 0;
  }

  epoch(place: number): number {
    return this.#bytes.readUInt32LE(place * VERSION_BYTES + VERSION_ENTRY.epoch);
  }

  seq(place: number): number {
    return readUint53(this.#bytes, place * VERSION_BYTES + VERSION_ENTRY.seq);
  }
}

/** A page with objects: on disk, changed in memory since, or both. */
interface ListedPage {
  readonly page: number;
  readonly stored: Buffer | undefined;
  readonly hasPinned: boolean;
}

function* pagesOf(
  index: ObjectIndex,
  store: IndexStore,
  layerId: number,
  fromPage: number,
): Generator<ListedPage> {
  const pinned = index.pinnedPages(layerId, fromPage);
  let nextPinned = 0;
  const [, end] = indexRange.versionsOf(layerId);
  for (const { key, value } of entriesOf(store, [indexKey.versions(layerId, fromPage), end])) {
    const page = keyMinor(key);
    for (; nextPinned < pinned.length && pinned[nextPinned]! < page; nextPinned += 1) {
      yield { page: pinned[nextPinned]!, stored: undefined, hasPinned: true };
    }
    const hasPinned = pinned[nextPinned] === page;
    if (hasPinned) nextPinned += 1;
    yield { page, stored: value, hasPinned };
  }
  for (; nextPinned < pinned.length; nextPinned += 1) {
    yield { page: pinned[nextPinned]!, stored: undefined, hasPinned: true };
  }
}

export function listVersions(
  index: ObjectIndex,
  store: IndexStore,
  layerId: number,
  fromObjectIndex: number,
  limit: number,
): VersionPage {
  const builder = new PageBuilder(limit);
  if (index.removedLayers.has(layerId)) return builder.finish();
  const scratch = new ScannedPage();
  const pages = pagesOf(index, store, layerId, versionPageOf(fromObjectIndex));
  for (const { page, stored, hasPinned } of pages) {
    if (builder.isFull) break;
    scratch.load(stored);
    const firstObject = page * VERSIONS_PER_PAGE;
    const from = Math.max(0, fromObjectIndex - firstObject);
    for (let i = from; i < VERSIONS_PER_PAGE; i += 1) {
      const entry = hasPinned ? index.pinned(layerId, firstObject + i) : undefined;
      if (entry !== undefined) builder.add(firstObject + i, entry.epoch, entry.seq);
      else if (!scratch.isEmpty(i)) builder.add(firstObject + i, scratch.epoch(i), scratch.seq(i));
    }
  }
  return builder.finish();
}
