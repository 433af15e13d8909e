/**
 * What the cache counts, as plain numbers for whoever prints them.
 *
 * Owns: the numbers. All only grow; what can shrink is asked of the cache at the time.
 */
import { Histogram, LATENCY_BOUNDS_SECONDS } from '../../store/runtime/histogram.ts';

export class CacheStats {
  /** Blocks read by requests, and those of them for which the request had to wait. */
  readBlocks = 0;
  missBlocks = 0;
  evictedBlocks = 0;
  fetchFailures = 0;
  flushes = 0;
  readonly flushSeconds = new Histogram(LATENCY_BOUNDS_SECONDS);
  /** Data written to the store, and writes of an object. */
  writtenBytes = 0;
  writtenObjects = 0;
  /** Of these, sent before a FLUSH that was expected. */
  sentAheadObjects = 0;
  writeFailures = 0;
  throttledWrites = 0;
  throttledSeconds = 0;
  /** Blocks fetched ahead of a reader, and those of them that it then came by. */
  readAheadBlocks = 0;
  readAheadUsedBlocks = 0;
}
