/**
 * What an engine counts, as plain numbers; the metrics of the process read them.
 *
 * Owns: counters and histograms that grow for the life of an engine. What has a value at a moment
 * is in `EngineGauges`, made when asked for.
 */
import { COUNT_BOUNDS, Histogram, LATENCY_BOUNDS_SECONDS } from '../runtime/histogram.ts';

export class EngineStats {
  /** Records appended and durable. */
  appends = 0;
  batches = 0;
  /** Headers, padding and payload. */
  appendedBytes = 0;
  payloadBytes = 0;
  /** Each batch is one synced write. */
  readonly syncSeconds = new Histogram(LATENCY_BOUNDS_SECONDS);
  readonly batchRecords = new Histogram(COUNT_BOUNDS);
  writeErrors = 0;
  reads = 0;
  readBytes = 0;
  refusedConflict = 0;
  refusedFenced = 0;
  refusedOutOfSpace = 0;
  checkpoints = 0;
  checkpointFailures = 0;
  readonly checkpointSeconds = new Histogram(LATENCY_BOUNDS_SECONDS);
  cleaningBytes = 0;
  segmentsFreed = 0;
  scrubBytes = 0;
  scrubErrors = 0;
  scrubPasses = 0;
  replayedRecords = 0;
  replayedBytes = 0;
}

export interface EngineGauges {
  readonly segmentsUsed: number;
  readonly segmentsSpare: number;
  readonly liveBytes: number;
  readonly deadBytes: number;
  readonly capacityBytes: number;
  /** What a writer can still use. */
  readonly freeBytes: number;
  readonly objectCount: number;
  readonly queuedRecords: number;
  readonly checkpointAgeSeconds: number;
  readonly logBytesSinceCheckpoint: number;
  readonly indexPinnedBytes: number;
  readonly indexCachedBytes: number;
  readonly indexHits: number;
  readonly indexMisses: number;
  readonly damagedSegments: number;
}
