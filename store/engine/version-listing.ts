/**
 * Versions of a layer's objects, in order: the pages on disk, with what changed since over them.
 *
 * Owns nothing; one call sees one state, because it does not wait for anything.
 */
import { copyVersionPage } from './index-codec.ts';
import { entriesOf, type IndexStore, indexKey, indexRange, keyMinor } from './index-store.ts';
import { readUint53, VERSION_BYTES, VERSION_ENTRY } from './layouts.ts';
import { VERSIONS_PER_PAGE, versionPageOf } from './limits.ts';
import type { ObjectIndex } from './object-index.ts';
import type { VersionPage } from './store-node.ts';

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

/** The number of the next page with objects, on disk or in memory. */
function* pagesOf(
  index: ObjectIndex,
  store: IndexStore,
  layerId: number,
  fromPage: number,
): Generator<{ readonly page: number; readonly stored: Buffer | undefined }> {
  const pinned = index.pinnedPages(layerId, fromPage);
  let nextPinned = 0;
  const [, end] = indexRange.versionsOf(layerId);
  for (const { key, value } of entriesOf(store, [indexKey.versions(layerId, fromPage), end])) {
    const page = keyMinor(key);
    for (; nextPinned < pinned.length && pinned[nextPinned]! < page; nextPinned += 1) {
      yield { page: pinned[nextPinned]!, stored: undefined };
    }
    if (pinned[nextPinned] === page) nextPinned += 1;
    yield { page, stored: value };
  }
  for (; nextPinned < pinned.length; nextPinned += 1) {
    yield { page: pinned[nextPinned]!, stored: undefined };
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
  for (const { page, stored } of pagesOf(index, store, layerId, versionPageOf(fromObjectIndex))) {
    if (builder.isFull) break;
    const versions = copyVersionPage(stored);
    const firstObject = page * VERSIONS_PER_PAGE;
    for (let i = 0; i < VERSIONS_PER_PAGE; i += 1) {
      const objectIndex = firstObject + i;
      if (objectIndex < fromObjectIndex) continue;
      const entry = index.pinned(layerId, objectIndex);
      if (entry !== undefined) {
        builder.add(objectIndex, entry.epoch, entry.seq);
        continue;
      }
      const at = i * VERSION_BYTES;
      const epoch = versions.readUInt32LE(at + VERSION_ENTRY.epoch);
      builder.add(objectIndex, epoch, readUint53(versions, at + VERSION_ENTRY.seq));
    }
  }
  return builder.finish();
}
