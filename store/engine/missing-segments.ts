/**
 * Finds segments that objects point to but that are not there, after replay.
 *
 * Owns nothing. Objects of removed layers do not count: they are on disk until a checkpoint takes
 * them out, and the segments that they point to may be gone already.
 */
import type { EngineState } from './apply-record.ts';
import { visitStoredRuns } from './index-codec.ts';
import { entriesOf, type IndexStore, indexRange, keyMinor } from './index-store.ts';
import { countIn } from './live-counts.ts';
import type { Damage } from './replay.ts';
import type { RestoredIndex } from './restore-index.ts';

export function findMissingSegments(
  { index }: EngineState,
  store: IndexStore,
  { storedRemovedLayers, unreapedLayers }: RestoredIndex,
  segmentIds: ReadonlySet<number>,
): Damage[] {
  const missing = new Map<number, number>();
  for (const [segmentId, blocks] of index.live.entries()) {
    if (!segmentIds.has(segmentId)) missing.set(segmentId, blocks);
  }
  if (missing.size === 0) return [];
  for (const layerId of index.removedLayers) {
    const isReaped = storedRemovedLayers.has(layerId) && !unreapedLayers.has(layerId);
    if (isReaped) continue;
    for (const { key, value } of entriesOf(store, indexRange.objectsOf(layerId))) {
      if (index.pinned(layerId, keyMinor(key)) !== undefined) continue;
      visitStoredRuns(value, (segmentId, blocks) => countIn(missing, segmentId, -blocks));
    }
  }
  return [...missing]
    .filter(([segmentId, blocks]) => blocks > 0 && !segmentIds.has(segmentId))
    .map(([segmentId, blocks]) => ({
      segmentId,
      offsetBytes: 0,
      reason: `missing, with ${blocks} live blocks`,
    }));
}
