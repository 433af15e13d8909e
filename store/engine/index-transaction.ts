/**
 * One transaction of the index on disk: objects, and the counts that go with them.
 *
 * Owns: collecting the changes, and the differences of live counts and object counts to what is
 * stored. Invariant: an object's value, its version in its page and the counts change together.
 */

import type { IndexArena } from './index-arena.ts';
import {
  copyVersionPage,
  encodeCount,
  encodeObject,
  putVersion,
  VERSION_PAGE_BYTES,
  visitStoredRuns,
} from './index-codec.ts';
import { type IndexChange, type IndexStore, indexKey } from './index-store.ts';
import { versionPageOf } from './limits.ts';
import { countIn, type LiveCounts } from './live-counts.ts';
import type { ObjectEntry } from './object-entry.ts';

export class IndexTransaction {
  readonly liveChanges = new Map<number, number>();
  readonly #objectChanges = new Map<number, number>();
  readonly #store: IndexStore;
  readonly #arena: IndexArena;
  readonly #storedLive: LiveCounts;
  readonly #storedObjects: Map<number, number>;
  readonly #changes: IndexChange[] = [];
  readonly #pages = new Map<string, { readonly key: Buffer; readonly page: Buffer }>();
  objects = 0;
  bytes = 0;

  /** The transaction has the arena for itself until it is committed. */
  constructor(
    store: IndexStore,
    storedLive: LiveCounts,
    storedObjects: Map<number, number>,
    arena: IndexArena,
  ) {
    arena.reset();
    this.#arena = arena;
    this.#store = store;
    this.#storedLive = storedLive;
    this.#storedObjects = storedObjects;
  }

  /** Stores an object as it is now, or takes it out if it does not exist. */
  storeObject(entry: ObjectEntry): void {
    const { layerId, objectIndex } = entry;
    const key = indexKey.object(layerId, objectIndex);
    const existed = this.#forgetStored(key);
    const value = entry.exists ? encodeObject(entry, this.#arena.take) : undefined;
    this.#changes.push({ key, value });
    if (value !== undefined) {
      visitStoredRuns(value, (segmentId, blocks) => countIn(this.liveChanges, segmentId, blocks));
    }
    const change = (entry.exists ? 1 : 0) - (existed ? 1 : 0);
    if (change !== 0) countIn(this.#objectChanges, layerId, change);
    putVersion(this.#page(layerId, objectIndex), objectIndex, entry.epoch, entry.seq);
    this.objects += 1;
    this.bytes += value?.length ?? 0;
  }

  /** Takes an object of a removed layer out. */
  reapObject(layerId: number, key: Buffer, value: Buffer): void {
    visitStoredRuns(value, (segmentId, blocks) => countIn(this.liveChanges, segmentId, -blocks));
    countIn(this.#objectChanges, layerId, -1);
    this.#changes.push({ key, value: undefined });
    this.objects += 1;
  }

  /** `batchSeq`: no change of a batch with this number or a higher one is among the objects. */
  async commit(batchSeq: number): Promise<void> {
    const changes = this.#changes;
    for (const { key, page } of this.#pages.values()) changes.push({ key, value: page });
    for (const [segmentId, change] of this.liveChanges) {
      if (change === 0) continue;
      const count = this.#storedLive.of(segmentId) + change;
      changes.push({
        key: indexKey.liveCount(segmentId),
        value: count === 0 ? undefined : encodeCount(count),
      });
    }
    for (const [layerId, change] of this.#objectChanges) {
      const count = (this.#storedObjects.get(layerId) ?? 0) + change;
      changes.push({
        key: indexKey.objectCount(layerId),
        value: count === 0 ? undefined : encodeCount(count),
      });
    }
    changes.push({ key: indexKey.knownBatchSeq(), value: encodeCount(batchSeq) });
    await this.#store.write(changes);
    this.#storedLive.addAll(this.liveChanges);
    for (const [layerId, change] of this.#objectChanges) {
      const count = (this.#storedObjects.get(layerId) ?? 0) + change;
      if (count === 0) this.#storedObjects.delete(layerId);
      else this.#storedObjects.set(layerId, count);
    }
  }

  /** Takes what is stored of an object out of the counts; false if nothing is stored. */
  #forgetStored(key: Buffer): boolean {
    return this.#store.peek(key, (stored) =>
      visitStoredRuns(stored, (segmentId, blocks) => countIn(this.liveChanges, segmentId, -blocks)),
    );
  }

  #page(layerId: number, objectIndex: number): Buffer {
    const key = indexKey.versions(layerId, versionPageOf(objectIndex));
    const name = key.toString('latin1');
    let known = this.#pages.get(name);
    if (known === undefined) {
      const page = this.#arena.take(VERSION_PAGE_BYTES);
      copyVersionPage(this.#store.get(key), page);
      known = { key, page };
      this.#pages.set(name, known);
      this.bytes += known.page.length;
    }
    return known.page;
  }
}
