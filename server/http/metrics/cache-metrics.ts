/**
 * What the object cache counts, and what it holds at the time, as metric families.
 */
import type { CacheStats } from '../../cache/cache-stats.ts';
import { counter, gauge, type MetricFamily, plainHistogram, type Sample } from './metric-family.ts';

/** The part of the cache that is looked at. */
export interface CacheView {
  readonly stats: CacheStats;
  readonly cacheBytes: number;
  readonly dirtyBytes: number;
  readonly dirtyObjects: number;
  readonly freeBytes: number;
  readonly objectCount: number;
  oldestDirtyMs(): number;
  blocksByState(): ReadonlyMap<string, number>;
}

const BLOCKS_HELP = 'Blocks of 4 KiB by state; hole and zero states take no memory.';

function blockSamples(cache: CacheView): Sample[] {
  return [...cache.blocksByState()].map(([name, value]) => {
    const state = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return { labels: { state }, value };
  });
}

function contentMetrics(cache: CacheView): MetricFamily[] {
  return [
    gauge('drover_cache_size_bytes', 'Memory for blocks.', () => cache.cacheBytes),
    gauge('drover_cache_free_bytes', 'Memory for blocks not in use.', () => cache.freeBytes),
    gauge('drover_cache_blocks', BLOCKS_HELP, () => blockSamples(cache)),
    gauge('drover_cache_objects', 'Objects with a block in the cache.', () => cache.objectCount),
    gauge('drover_cache_dirty_bytes', 'Written and not yet durable.', () => cache.dirtyBytes),
    gauge('drover_cache_dirty_objects', 'Objects with dirty blocks.', () => cache.dirtyObjects),
    gauge(
      'drover_cache_oldest_dirty_age_seconds',
      'Age of the oldest dirty block.',
      () => cache.oldestDirtyMs() / 1000,
    ),
  ];
}

function readMetrics({ stats }: CacheView): MetricFamily[] {
  return [
    counter(
      'drover_cache_hits_total',
      'Blocks read that were there.',
      () => stats.readBlocks - stats.missBlocks,
    ),
    counter(
      'drover_cache_misses_total',
      'Blocks read that had to be waited for.',
      () => stats.missBlocks,
    ),
    counter('drover_cache_evictions_total', 'Blocks evicted.', () => stats.evictedBlocks),
    counter(
      'drover_cache_fetch_failures_total',
      'Reads of the store that failed.',
      () => stats.fetchFailures,
    ),
    counter(
      'drover_cache_read_ahead_blocks_total',
      'Blocks fetched ahead of a reader.',
      () => stats.readAheadBlocks,
    ),
    counter(
      'drover_cache_read_ahead_used_blocks_total',
      'Those of them that were then read.',
      () => stats.readAheadUsedBlocks,
    ),
  ];
}

function writeMetrics({ stats }: CacheView): MetricFamily[] {
  return [
    counter('drover_flushes_total', 'Flushes asked for.', () => stats.flushes),
    plainHistogram(
      'drover_flush_duration_seconds',
      'From a flush to everything durable.',
      () => stats.flushSeconds,
    ),
    counter(
      'drover_cache_written_bytes_total',
      'Data sent to the store.',
      () => stats.writtenBytes,
    ),
    counter(
      'drover_cache_written_objects_total',
      'Writes of an object to the store.',
      () => stats.writtenObjects,
    ),
    counter(
      'drover_cache_sent_ahead_objects_total',
      'Of these, sent before a flush that was expected.',
      () => stats.sentAheadObjects,
    ),
    counter(
      'drover_cache_write_failures_total',
      'Writes of an object to the store that failed; they are repeated.',
      () => stats.writeFailures,
    ),
    counter(
      'drover_cache_throttled_writes_total',
      'Guest writes that had to wait for room.',
      () => stats.throttledWrites,
    ),
    counter(
      'drover_cache_throttled_seconds_total',
      'How long they waited.',
      () => stats.throttledSeconds,
    ),
  ];
}

export function cacheMetrics(cache: CacheView): MetricFamily[] {
  return [...contentMetrics(cache), ...readMetrics(cache), ...writeMetrics(cache)];
}
