/**
 * One read of the store into the cache.
 *
 * Owns: the blocks' slots until it settles. Does not own: which blocks are missing.
 * Invariant: a block that was written, trimmed or dropped meanwhile is not `filling` with the
 * fetch's slot any more; it keeps what it has, and the fetched bytes are thrown away. So a write
 * wins over a fetch, and two readers of one missing block share one.
 */
import { BlockKind } from '../../store/engine/store-node.ts';
import { BlockState } from './block-states.ts';
import { entryOf } from './block-table.ts';
import type { CachedObject } from './cached-object.ts';
import type { ObjectCache } from './object-cache.ts';

export class Fetch {
  readonly object: CachedObject;
  readonly startBlock: number;
  readonly slots: readonly number[];
  /** One of its blocks was written since: the object's dirty blocks wait until it settles. */
  isOverwritten = false;
  #onSettled: ((error: unknown) => void)[] = [];

  constructor(object: CachedObject, startBlock: number, slots: readonly number[]) {
    this.object = object;
    this.startBlock = startBlock;
    this.slots = slots;
  }

  get endBlock(): number {
    return this.startBlock + this.slots.length;
  }

  /** Resolves when the fetch, in progress now, settled well; rejects with its error. */
  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.whenSettled((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** Calls `tell` when the fetch, in progress now, settles; `undefined` means well. */
  whenSettled(tell: (error: unknown) => void): void {
    this.#onSettled.push(tell);
  }

  settled(error: unknown): void {
    const told = this.#onSettled;
    this.#onSettled = [];
    for (const tell of told) tell(error);
  }
}

/** Starts a fetch of absent blocks; the caller has made room for their slots and pages. */
export function startFetch(
  cache: ObjectCache,
  object: CachedObject,
  startBlock: number,
  blockCount: number,
): Fetch {
  const slots: number[] = [];
  for (let i = 0; i < blockCount; i += 1) {
    const slot = cache.slab.take();
    slots.push(slot);
    cache.table.set(object, startBlock + i, entryOf(BlockState.filling, slot));
  }
  const fetch = new Fetch(object, startBlock, slots);
  if (object.fetches === undefined) object.fetches = [fetch];
  else object.fetches.push(fetch);
  object.volume.countTransfer(1);
  object.volume.store.read(object.objectIndex, startBlock, cache.slab.views(slots)).then(
    (kinds) => settle(cache, fetch, kinds, undefined),
    (error: unknown) => {
      cache.stats.fetchFailures += 1;
      settle(cache, fetch, undefined, error);
    },
  );
  return fetch;
}

/** Call when a block that is `filling` is about to be written or trimmed. */
export function overwriteFilling(object: CachedObject, block: number): void {
  for (const fetch of object.fetches!) {
    if (block < fetch.startBlock || block >= fetch.endBlock || fetch.isOverwritten) continue;
    fetch.isOverwritten = true;
    object.overwrittenFetches += 1;
    if (object.isListed) object.volume.dirty.remove(object);
  }
}

function settle(
  cache: ObjectCache,
  fetch: Fetch,
  kinds: Uint8Array | undefined,
  error: unknown,
): void {
  const { object } = fetch;
  object.volume.countTransfer(-1);
  const others = object.fetches!.filter((other) => other !== fetch);
  object.fetches = others.length > 0 ? others : undefined;
  for (let i = fetch.slots.length - 1; i >= 0; i -= 1) {
    place(cache, fetch, i, kinds?.[i]);
  }
  if (fetch.isOverwritten) {
    object.overwrittenFetches -= 1;
    if (object.dirtyBlocks > 0 && !object.isHeld && !object.isDropped) {
      cache.writeBack.list(object);
      cache.writeBack.pump(object.volume);
    }
  }
  fetch.settled(error);
  cache.room.wake();
  if (fetch.isOverwritten) cache.drainer.settled(object.volume);
}

/** Puts one fetched block in its place, or gives its slot back. */
function place(cache: ObjectCache, fetch: Fetch, index: number, kind: number | undefined): void {
  const { object } = fetch;
  const slot = fetch.slots[index]!;
  const block = fetch.startBlock + index;
  const isCurrent =
    !object.isDropped && cache.table.get(object, block) === entryOf(BlockState.filling, slot);
  if (isCurrent && kind === BlockKind.data) {
    cache.table.set(object, block, entryOf(BlockState.clean, slot));
    return;
  }
  cache.slab.give(slot);
  if (!isCurrent) return;
  if (kind === BlockKind.hole) cache.table.set(object, block, BlockState.hole);
  else if (kind === BlockKind.zero) cache.table.set(object, block, BlockState.zero);
  else cache.table.set(object, block, BlockState.absent);
}

/** The fetches in progress that hold a block of the range. */
export function fetchesOf(cache: ObjectCache, object: CachedObject, first: number, last: number) {
  return (object.fetches ?? []).filter(
    (fetch) =>
      fetch.startBlock <= last && fetch.endBlock > first && holdsAny(cache, fetch, first, last),
  );
}

function holdsAny(cache: ObjectCache, fetch: Fetch, first: number, last: number): boolean {
  return fetch.slots.some((slot, i) => {
    const block = fetch.startBlock + i;
    if (block < first || block > last) return false;
    return cache.table.get(fetch.object, block) === entryOf(BlockState.filling, slot);
  });
}
