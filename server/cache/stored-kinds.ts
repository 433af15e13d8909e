/**
 * What kind of content each block has, for whoever asks which parts of a volume are allocated.
 *
 * Owns: putting together what the cache and what the store know. Changes nothing in the cache.
 */
import { BlockState, kindOf, READABLE } from './block-states.ts';
import { stateOf } from './block-table.ts';
import type { CachedVolume } from './cached-volume.ts';
import type { BlockRange } from './fetching.ts';

/**
 * The `BlockKind` of each block of the range: of resident blocks as they are now, of others as the
 * store says. Errors: those of the store, `unavailable` after the volume was closed.
 */
export async function storedKinds(
  volume: CachedVolume,
  objectIndex: number,
  range: BlockRange,
): Promise<Uint8Array> {
  const { cache, store } = volume;
  volume.checkOpen();
  const kinds = new Uint8Array(range.last - range.first + 1);
  if (volume.isNeverWritten(objectIndex)) return kinds;
  const object = cache.peek(volume, objectIndex);
  // Resident blocks are looked at before the store is asked: what it says of blocks that are
  // written back meanwhile may be old.
  const unknown: number[] = [];
  for (let i = 0; i < kinds.length; i += 1) {
    const block = range.first + i;
    const state =
      object === undefined ? BlockState.absent : stateOf(cache.table.get(object, block));
    if ((READABLE >> state) & 1) kinds[i] = kindOf(state);
    else unknown.push(i);
  }
  if (unknown.length === 0) return kinds;
  const stored = await store.map(objectIndex);
  for (const i of unknown) kinds[i] = stored[range.first + i]!;
  return kinds;
}
