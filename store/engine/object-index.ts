/**
 * The objects of this node: found in memory, else read from the index on disk.
 *
 * Owns: which entries are in memory. A changed entry is *pinned* (in `dirty`) until a checkpoint
 * stored it; during the checkpoint it is in `storing`, and in `dirty` again if it changes
 * meanwhile. Entries that are on disk as they are sit in a bounded LRU cache. Also owns live
 * counts, counts of objects, and which layers were removed.
 * Does not own: what changes an entry (apply-record.ts), when it is stored (checkpoint.ts).
 * Invariants: there is one entry of an object in memory at most; an object that is neither in
 * `dirty` nor in `storing` is on disk exactly as it is in memory; `live` is the sum over all
 * objects, where an object of a removed layer counts until the checkpoint took it out of the disk.
 */
import { LRUCache } from 'lru-cache';
import { DroverError } from '../runtime/drover-error.ts';
import { decodeObject } from './index-codec.ts';
import { type IndexStore, indexKey } from './index-store.ts';
import { versionPageOf } from './limits.ts';
import { LiveCounts } from './live-counts.ts';
import { isStored, ObjectEntry, type SEGMENT_HOLE, type SEGMENT_ZERO } from './object-entry.ts';

/** Pages of versions with pinned objects, by layer. */
type PinnedPages = Map<number, Set<number>>;

const TWO_32 = 2 ** 32;
/** Keys in memory are `slot * 2^32 + objectIndex`, below 2^53. */
const LAYER_SLOTS_MAX = 2 ** 21;

export interface IndexCacheStats {
  hits: number;
  misses: number;
}

export class ObjectIndex {
  readonly live = new LiveCounts();
  /** Objects that exist, by layer; layers without any are absent. */
  readonly objectCounts = new Map<number, number>();
  /** Ids of layers that were removed; never used again. */
  readonly removedLayers = new Set<number>();
  readonly cacheStats: IndexCacheStats = { hits: 0, misses: 0 };
  dirty = new Map<number, ObjectEntry>();
  storing = new Map<number, ObjectEntry>();
  #dirtyBytes = 0;
  #storingBytes = 0;
  #dirtyPages: PinnedPages = new Map();
  #storingPages: PinnedPages = new Map();
  readonly #store: IndexStore;
  readonly #cache: LRUCache<number, ObjectEntry>;
  readonly #slots = new Map<number, number>();

  constructor(store: IndexStore, cacheBytesMax: number) {
    this.#store = store;
    this.#cache = new LRUCache({
      maxSize: cacheBytesMax,
      sizeCalculation: (entry: ObjectEntry) => entry.bytes,
    });
  }

  get pinnedBytes(): number {
    return this.#dirtyBytes + this.#storingBytes;
  }

  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }

  get cachedBytes(): number {
    return this.#cache.calculatedSize;
  }

  get totalObjects(): number {
    let total = 0;
    for (const count of this.objectCounts.values()) total += count;
    return total;
  }

  /** Hot path. The entry of an object; `undefined` if neither memory nor disk know it. */
  find(layerId: number, objectIndex: number): ObjectEntry | undefined {
    if (this.removedLayers.has(layerId)) return undefined;
    const key = this.#key(layerId, objectIndex);
    const entry = this.dirty.get(key) ?? this.storing.get(key) ?? this.#cache.get(key);
    if (entry !== undefined) {
      this.cacheStats.hits += 1;
      return entry;
    }
    this.cacheStats.misses += 1;
    const stored = this.#store.get(indexKey.object(layerId, objectIndex));
    if (stored === undefined) return undefined;
    const loaded = decodeObject(stored, layerId, objectIndex, key);
    this.#cache.set(key, loaded);
    return loaded;
  }

  /** The entry of an object for a look that shall not disturb what is cached (scrub). */
  peek(layerId: number, objectIndex: number): ObjectEntry | undefined {
    if (this.removedLayers.has(layerId)) return undefined;
    const key = this.#key(layerId, objectIndex);
    const entry = this.dirty.get(key) ?? this.storing.get(key) ?? this.#cache.peek(key);
    if (entry !== undefined) return entry;
    const stored = this.#store.get(indexKey.object(layerId, objectIndex));
    return stored === undefined ? undefined : decodeObject(stored, layerId, objectIndex, key);
  }

  /** Hot path. The entry of an object that is about to change, pinned; made if there is none. */
  pin(layerId: number, objectIndex: number): ObjectEntry {
    const key = this.#key(layerId, objectIndex);
    const pinned = this.dirty.get(key);
    if (pinned !== undefined) {
      this.cacheStats.hits += 1;
      return pinned;
    }
    const entry = this.find(layerId, objectIndex) ?? new ObjectEntry(layerId, objectIndex, key);
    this.#addDirty(entry);
    return entry;
  }

  /** The entry of an object that may differ from what is on disk. */
  pinned(layerId: number, objectIndex: number): ObjectEntry | undefined {
    const key = this.#key(layerId, objectIndex);
    return this.dirty.get(key) ?? this.storing.get(key);
  }

  /** Pages of versions from `fromPage` on in which an object is pinned, in order. */
  pinnedPages(layerId: number, fromPage: number): number[] {
    const pages = new Set<number>();
    for (const byLayer of [this.#dirtyPages, this.#storingPages]) {
      for (const page of byLayer.get(layerId) ?? []) if (page >= fromPage) pages.add(page);
    }
    return [...pages].sort((a, b) => a - b);
  }

  /** Pins an entry again that a checkpoint may have taken since it was pinned. */
  repin(entry: ObjectEntry): void {
    if (!this.dirty.has(entry.key)) this.#addDirty(entry);
  }

  /** Hot path. `reach` of a pinned entry. */
  reach(entry: ObjectEntry, start: number, endExclusive: number): void {
    const before = entry.bytes;
    entry.reach(start, endExclusive);
    this.#dirtyBytes += entry.bytes - before;
  }

  /** Hot path. `mark` of a pinned entry. */
  mark(
    entry: ObjectEntry,
    start: number,
    endExclusive: number,
    mark: typeof SEGMENT_HOLE | typeof SEGMENT_ZERO,
  ): void {
    const before = entry.bytes;
    entry.mark(start, endExclusive, mark);
    this.#dirtyBytes += entry.bytes - before;
  }

  /** Makes all of a pinned entry holes. */
  clearBlocks(entry: ObjectEntry): void {
    const { bytes, tableBlocks } = entry;
    for (let block = 0; block < tableBlocks; block += entry.uniformBlocks(block)) {
      const segmentId = entry.segmentAt(block);
      if (isStored(segmentId)) this.live.add(segmentId, -1);
    }
    entry.clear();
    this.#dirtyBytes += entry.bytes - bytes;
  }

  setVersion(entry: ObjectEntry, epoch: number, seq: number): void {
    const existed = entry.exists;
    entry.epoch = epoch;
    entry.seq = seq;
    if (entry.exists !== existed) this.countObjects(entry.layerId, existed ? -1 : 1);
  }

  countObjects(layerId: number, change: number): void {
    const count = (this.objectCounts.get(layerId) ?? 0) + change;
    if (count === 0) this.objectCounts.delete(layerId);
    else this.objectCounts.set(layerId, count);
  }

  /**
   * Forgets a layer. Its changed objects become absent, as if removed one by one, and the next
   * checkpoint takes them out of the disk; the others are taken out after that.
   */
  removeLayer(layerId: number, lsn: number): void {
    if (this.removedLayers.has(layerId)) return;
    this.removedLayers.add(layerId);
    this.objectCounts.delete(layerId);
    for (const pinned of [...this.dirty.values(), ...this.storing.values()]) {
      if (pinned.layerId !== layerId) continue;
      this.repin(pinned);
      this.clearBlocks(pinned);
      pinned.epoch = 0;
      pinned.seq = 0;
      pinned.lsn = lsn;
    }
  }

  /** Starts a checkpoint: what is dirty now is to be stored; what changes from now on is dirty. */
  beginStoring(): ObjectEntry[] {
    this.storing = this.dirty;
    this.#storingBytes = this.#dirtyBytes;
    this.#storingPages = this.#dirtyPages;
    this.dirty = new Map();
    this.#dirtyBytes = 0;
    this.#dirtyPages = new Map();
    return [...this.storing.values()].sort(
      (a, b) => a.layerId - b.layerId || a.objectIndex - b.objectIndex,
    );
  }

  /**
   * Ends a checkpoint. An entry with a record on its way stays pinned: the record holds it, so a
   * second entry of the object must not be read from the disk.
   */
  endStoring(isStoredOnDisk: boolean): void {
    for (const entry of this.storing.values()) {
      if (!isStoredOnDisk || entry.queuedRecords > 0) this.repin(entry);
      else if (!this.dirty.has(entry.key) && entry.exists) this.#cache.set(entry.key, entry);
    }
    this.storing = new Map();
    this.#storingBytes = 0;
    this.#storingPages = new Map();
  }

  #addDirty(entry: ObjectEntry): void {
    this.#cache.delete(entry.key);
    this.dirty.set(entry.key, entry);
    this.#dirtyBytes += entry.bytes;
    let pages = this.#dirtyPages.get(entry.layerId);
    if (pages === undefined) {
      pages = new Set();
      this.#dirtyPages.set(entry.layerId, pages);
    }
    pages.add(versionPageOf(entry.objectIndex));
  }

  #key(layerId: number, objectIndex: number): number {
    let slot = this.#slots.get(layerId);
    if (slot === undefined) {
      slot = this.#slots.size;
      if (slot >= LAYER_SLOTS_MAX) throw new DroverError('unavailable', 'too many layers');
      this.#slots.set(layerId, slot);
    }
    return slot * TWO_32 + objectIndex;
  }
}
