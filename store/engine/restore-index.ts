/**
 * What the index on disk says before replay: the checkpoint, epochs, removed layers, counts.
 *
 * Owns: reading it. Objects are not read: they are found when they are asked for, so opening takes
 * as long with a million of them as with one. Error: `corrupt`.
 */
import { DroverError } from '../runtime/drover-error.ts';
import type { EngineState } from './apply-record.ts';
import { isReaped } from './checkpoint.ts';
import { type Checkpoint, decodeCheckpoint, decodeCount } from './index-codec.ts';
import { entriesOf, type IndexStore, indexKey, indexRange, keyMajor } from './index-store.ts';
import { LiveCounts } from './live-counts.ts';

export interface RestoredIndex {
  readonly checkpoint: Checkpoint;
  readonly knownBatchSeq: number;
  readonly storedLive: LiveCounts;
  readonly storedObjects: Map<number, number>;
  readonly storedRemovedLayers: Set<number>;
  readonly unreapedLayers: Set<number>;
}

export function restoreIndex(store: IndexStore, state: EngineState): RestoredIndex {
  const stored = store.get(indexKey.checkpoint());
  if (stored === undefined) {
    throw new DroverError('corrupt', 'the index holds no checkpoint');
  }
  const checkpoint = decodeCheckpoint(stored);
  const known = store.get(indexKey.knownBatchSeq());
  const knownBatchSeq = known === undefined ? 0 : decodeCount(known);
  const storedRemovedLayers = new Set<number>();
  const unreapedLayers = new Set<number>();
  for (const { key, value } of entriesOf(store, indexRange.removedLayers())) {
    storedRemovedLayers.add(keyMajor(key));
    state.index.removedLayers.add(keyMajor(key));
    if (!isReaped(value)) unreapedLayers.add(keyMajor(key));
  }
  for (const { key, value } of entriesOf(store, indexRange.epochs())) {
    state.epochs.restore(keyMajor(key), decodeCount(value));
  }
  const storedLive = new LiveCounts();
  for (const { key, value } of entriesOf(store, indexRange.liveCounts())) {
    storedLive.add(keyMajor(key), decodeCount(value));
    state.index.live.add(keyMajor(key), decodeCount(value));
  }
  const storedObjects = new Map<number, number>();
  for (const { key, value } of entriesOf(store, indexRange.objectCounts())) {
    storedObjects.set(keyMajor(key), decodeCount(value));
    if (storedRemovedLayers.has(keyMajor(key))) continue;
    state.index.objectCounts.set(keyMajor(key), decodeCount(value));
  }
  return {
    checkpoint,
    knownBatchSeq,
    storedLive,
    storedObjects,
    storedRemovedLayers,
    unreapedLayers,
  };
}
