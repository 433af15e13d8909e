/**
 * A volume over a cache, a store and a clock that a test controls.
 */

import { BlockState } from '../../../server/cache/block-states.ts';
import type { CacheLimits } from '../../../server/cache/limits.ts';
import { ObjectCache } from '../../../server/cache/object-cache.ts';
import { AttachedVolume, type CacheMode } from '../../../server/volume/attached-volume.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryObjectStore } from './memory-object-store.ts';

export interface FixtureOptions {
  readonly slots?: number;
  readonly objectBlocks?: number;
  readonly objects?: number;
  readonly sizeBytes?: number;
  readonly limits?: Partial<CacheLimits>;
  readonly cacheMode?: CacheMode;
}

export class VolumeFixture {
  readonly clock = new ManualClock();
  readonly store: MemoryObjectStore;
  readonly cache: ObjectCache;
  readonly volume: AttachedVolume;
  readonly #tracked = new Map<Promise<unknown>, string>();

  constructor(options: FixtureOptions = {}) {
    const objectBytes = (options.objectBlocks ?? 64) * BLOCK_BYTES;
    this.store = new MemoryObjectStore(objectBytes);
    this.cache = new ObjectCache({
      cacheBytes: (options.slots ?? 1024) * BLOCK_BYTES,
      clock: this.clock,
      limits: options.limits ?? {},
    });
    this.volume = new AttachedVolume({
      name: 'disk',
      sizeBytes: options.sizeBytes ?? objectBytes * (options.objects ?? 16),
      objectStore: this.store,
      cache: this.cache,
      clock: this.clock,
      cacheMode: options.cacheMode ?? 'writeback',
    });
  }

  /** Where a promise stands after the turns that passed; ask once at least before it settles. */
  track(promise: Promise<unknown>): () => string {
    this.#tracked.set(promise, 'waiting');
    promise.then(
      () => this.#tracked.set(promise, 'done'),
      (error: Error) => this.#tracked.set(promise, error.message),
    );
    return () => this.#tracked.get(promise)!;
  }

  /** Lets everything held go, again and again, until `isDone` or nothing helps any more. */
  async runUntil(isDone: () => boolean): Promise<boolean> {
    for (let i = 0; i < 500 && !isDone(); i += 1) {
      this.store.settleAll();
      await this.clock.advance(20_000);
    }
    return isDone();
  }

  async readBlock(block: number): Promise<Buffer> {
    const target = Buffer.alloc(BLOCK_BYTES, 0xee);
    await this.volume.read(block * BLOCK_BYTES, target);
    return target;
  }

  tryWriteBlock(block: number, value: number): boolean {
    const source = Buffer.alloc(BLOCK_BYTES, value);
    return this.volume.tryWrite(block * BLOCK_BYTES, BLOCK_BYTES, source, 0);
  }

  /** Slots in use beyond those of blocks: they belong to flights and fetches. */
  get ownedSlots(): number {
    const { counts } = this.cache.table;
    const used = this.cache.slab.slots - this.cache.slab.freeSlots;
    const ofBlocks =
      counts[BlockState.clean]! +
      counts[BlockState.dirty]! +
      counts[BlockState.flushing]! +
      counts[BlockState.filling]!;
    return used - ofBlocks;
  }
}

export function block(value: number): Buffer {
  return Buffer.alloc(BLOCK_BYTES, value);
}
