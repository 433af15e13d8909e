/**
 * The cache of all attached volumes' objects.
 *
 * Owns: the memory, the objects in order of use, and the counts of what is dirty. Does not own:
 * what happens to blocks, which the files beside this one do, each for its part.
 * Invariants: every used slot is that of one block, or of one flight or fetch whose block has moved
 * on; `dirtySlots` counts the slots of dirty blocks and of flights; `dirtyObjects` counts the
 * objects with dirty blocks or a flight.
 */
import { LRUCache } from 'lru-cache';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { ObjectStore } from '../../store/replication/object-store.ts';
import type { Clock } from '../../store/runtime/clock.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import { Admission } from './admission.ts';
import { BlockState, STATE_NAMES } from './block-states.ts';
import { BlockTable, slotOf, stateOf } from './block-table.ts';
import { CacheStats } from './cache-stats.ts';
import { CachedObject } from './cached-object.ts';
import { CachedVolume } from './cached-volume.ts';
import { Drainer } from './drainer.ts';
import { type Kept, makeRoom } from './eviction.ts';
import { type CacheLimits, defaultLimits, PAGE_SHIFT, VOLUMES_MAX } from './limits.ts';
import { RoomQueue } from './room-queue.ts';
import { Slab } from './slab.ts';
import { WriteBack } from './write-back.ts';

export interface ObjectCacheOptions {
  readonly cacheBytes: number;
  readonly clock: Clock;
  /** What differs from `defaultLimits`. */
  readonly limits?: Partial<CacheLimits>;
}

export class ObjectCache {
  readonly cacheBytes: number;
  readonly clock: Clock;
  readonly limits: CacheLimits;
  readonly stats = new CacheStats();
  readonly slab: Slab;
  readonly table: BlockTable;
  readonly room: RoomQueue;
  readonly admission: Admission;
  readonly writeBack: WriteBack;
  readonly drainer: Drainer;
  readonly volumes = new Set<CachedVolume>();
  dirtySlots = 0;
  dirtyObjects = 0;
  /** Slots of the fetches that read-ahead has in progress. */
  readAheadSlots = 0;

  readonly #objects: LRUCache<number, CachedObject>;
  /** The most recent object, found again without a look at the map. */
  #lastKey = -1;
  #lastObject: CachedObject | undefined;
  readonly #kept: Kept = { object: undefined, firstBlock: 0, lastBlock: -1 };

  constructor(options: ObjectCacheOptions) {
    const slots = Math.floor(options.cacheBytes / BLOCK_BYTES);
    this.cacheBytes = slots * BLOCK_BYTES;
    this.clock = options.clock;
    this.limits = { ...defaultLimits(options.cacheBytes), ...options.limits };
    this.slab = new Slab(slots);
    this.table = new BlockTable(this.limits.pagesMax);
    this.#objects = new LRUCache({ max: this.limits.objectsMax });
    this.room = new RoomQueue(() => this.drainer.schedule());
    this.admission = new Admission(slots, this.limits, this, this.clock, this.stats);
    this.writeBack = new WriteBack(this);
    this.drainer = new Drainer(this);
  }

  /** Error: `unavailable` when too many volumes are attached. */
  attach(store: ObjectStore): CachedVolume {
    const taken = new Set(Array.from(this.volumes, (volume) => volume.keySlot));
    let keySlot = 0;
    while (taken.has(keySlot)) keySlot += 1;
    if (keySlot >= VOLUMES_MAX) {
      throw new DroverError('unavailable', `${VOLUMES_MAX} volumes are attached already`);
    }
    const volume = new CachedVolume(this, keySlot, store);
    this.volumes.add(volume);
    return volume;
  }

  /** Hot path. The object if it is in the cache, now the most recent. */
  find(volume: CachedVolume, objectIndex: number): CachedObject | undefined {
    const key = objectIndex * VOLUMES_MAX + volume.keySlot;
    if (key === this.#lastKey) return this.#lastObject;
    const object = this.#objects.get(key);
    if (object !== undefined) {
      this.#lastKey = key;
      this.#lastObject = object;
    }
    return object;
  }

  /** The object if it is in the cache; its place in the order of use stays. */
  peek(volume: CachedVolume, objectIndex: number): CachedObject | undefined {
    return this.#objects.peek(objectIndex * VOLUMES_MAX + volume.keySlot);
  }

  /** The object, made if need be; `undefined` if there is no place for it. */
  findOrCreate(
    volume: CachedVolume,
    objectIndex: number,
    objectsTriedMax: number,
  ): CachedObject | undefined {
    const found = this.find(volume, objectIndex);
    if (found !== undefined) return found;
    if (this.freePlaces < 1) {
      const kept = { object: undefined, firstBlock: 0, lastBlock: -1 };
      if (!makeRoom(this, 0, 0, 1, kept, objectsTriedMax)) return undefined;
    }
    const key = objectIndex * VOLUMES_MAX + volume.keySlot;
    const object = new CachedObject(volume, objectIndex, key);
    const isStored = volume.store.exists(objectIndex);
    this.table.start(object, isStored ? BlockState.absent : BlockState.hole);
    this.#objects.set(key, object);
    this.#lastKey = key;
    this.#lastObject = object;
    return object;
  }

  /** Makes slots and pages free; the blocks of `object` from `first` to `last` stay. */
  makeRoom(
    slots: number,
    pages: number,
    object: CachedObject,
    first: number,
    last: number,
    objectsTriedMax: number,
  ): boolean {
    this.#kept.object = object;
    this.#kept.firstBlock = first;
    this.#kept.lastBlock = last;
    const isFree = makeRoom(this, slots, pages, 0, this.#kept, objectsTriedMax);
    this.#kept.object = undefined;
    return isFree;
  }

  get freePlaces(): number {
    return this.limits.objectsMax - this.#objects.size;
  }

  leastRecent(): CachedObject | undefined {
    for (const object of this.#objects.rvalues()) return object;
    return undefined;
  }

  /** Makes the object the most recent. */
  touch(object: CachedObject): void {
    this.#objects.get(object.key);
    this.#lastKey = object.key;
    this.#lastObject = object;
  }

  unpin(object: CachedObject): void {
    object.pins -= 1;
    if (object.pins === 0) this.room.wake();
  }

  /** Forgets an object, dirty blocks included. */
  drop(object: CachedObject): void {
    for (let page = 0; page < object.pages.length; page += 1) {
      if (this.table.uniformState(object, page) === undefined) this.#giveSlots(object, page);
      this.table.setUniform(object, page, BlockState.absent);
    }
    if (object.isListed) object.volume.dirty.remove(object);
    if (object.round !== undefined) object.round.pendingObjects -= 1;
    if (object.dirtyBlocks > 0 || object.flight !== undefined) {
      this.countDirtyObjects(object.volume, -1);
    }
    object.isDropped = true;
    this.#objects.delete(object.key);
    if (this.#lastKey === object.key) {
      this.#lastKey = -1;
      this.#lastObject = undefined;
    }
  }

  /** Gives back the slots of clean and dirty blocks; others belong to a flight or a fetch. */
  #giveSlots(object: CachedObject, page: number): void {
    const first = page << PAGE_SHIFT;
    for (let block = first + object.pageBlocks - 1; block >= first; block -= 1) {
      const entry = this.table.get(object, block);
      const state = stateOf(entry);
      if (state !== BlockState.clean && state !== BlockState.dirty) continue;
      this.slab.give(slotOf(entry));
      if (state === BlockState.dirty) this.countDirtySlots(object.volume, -1);
    }
  }

  /** Drops all objects of a volume. Looks at every object: for the end of a volume only. */
  dropAll(volume: CachedVolume): void {
    for (const object of [...this.#objects.values()]) {
      if (object.volume === volume) this.drop(object);
    }
  }

  /** Hot path. */
  countDirtySlots(volume: CachedVolume, slots: number): void {
    this.dirtySlots += slots;
    volume.dirtySlots += slots;
  }

  /** Dirty slots of volumes whose stores have no room for them. */
  stuckSlots(): number {
    let slots = 0;
    for (const volume of this.volumes) {
      if (volume.spaceError !== undefined) slots += volume.dirtySlots;
    }
    return slots;
  }

  countDirtyObjects(volume: CachedVolume, objects: number): void {
    this.dirtyObjects += objects;
    volume.dirtyObjects += objects;
  }

  get dirtyBytes(): number {
    return this.dirtySlots * BLOCK_BYTES;
  }

  get freeBytes(): number {
    return this.slab.freeSlots * BLOCK_BYTES;
  }

  get objectCount(): number {
    return this.#objects.size;
  }

  /** How long the oldest dirty block has been so; 0 if none is. */
  oldestDirtyMs(): number {
    let oldestMs = 0;
    for (const volume of this.volumes) oldestMs = Math.max(oldestMs, volume.oldestDirtyMs());
    return oldestMs;
  }

  /** Blocks in each state but `absent`. */
  blocksByState(): ReadonlyMap<string, number> {
    const states = STATE_NAMES.map((name, state) => [name, this.table.counts[state]!] as const);
    return new Map(states.slice(1));
  }
}
