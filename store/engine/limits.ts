/**
 * Every limit of a store node's engine, with the arithmetic of its worst case.
 *
 * Owns: the numbers. They can be changed by an option of `openEngine`; only `segmentBytes` is part
 * of the format of a directory (it is kept in `identity.json`), the others may change at any open.
 *
 * Memory of one engine: `cacheBytesMax` (32 MiB) + `pinnedBytesMax` (96 MiB) + one batch header
 * (under 256 KiB) + what cleaning holds (`cleaningBytes`, 1 MiB) + what scrub and replay read at
 * once (1 MiB each) + 0.5 KiB for each segment (0.008 ‰ of the data). Together under 140 MiB; the
 * payload of queued writes belongs to their callers.
 */
import { BLOCK_BYTES, OBJECT_BYTES_MAX } from '../geometry.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** A write may cover the largest object whole. */
export const OBJECT_BLOCKS_MAX = OBJECT_BYTES_MAX / BLOCK_BYTES;

/** Versions in one answer: 16 bytes each, so 16 MiB. */
export const LISTED_MAX = 1024 * 1024;

/** Replay orders the records of a batch by `lsn = batchSeq * BATCH_RECORDS_LIMIT + index`. */
export const BATCH_RECORDS_LIMIT = 4096;

/** Versions of so many neighbouring objects share one value of the index: 256 * 12 bytes = 3 KiB. */
export const VERSIONS_PER_PAGE = 256;

export function versionPageOf(objectIndex: number): number {
  return Math.floor(objectIndex / VERSIONS_PER_PAGE);
}

export interface EngineLimits {
  readonly segmentBytes: number;
  /** A batch takes what is queued up to this, and always at least one record (16 MiB). */
  readonly batchPayloadBytesMax: number;
  /** With batches of this size and more, a segment is not filled with zeros beforehand. */
  readonly bulkBatchBytes: number;
  readonly batchRecordsMax: number;
  /** As `batchPayloadBytesMax`; the largest record alone takes 56 + 4096 * (8 + 4) = 49 KB. */
  readonly batchHeaderBytesMax: number;
  /** Buffers of one vectored write: one system call takes 1024 (IOV_MAX). */
  readonly batchBuffersMax: number;
  /** Writes asked for and not settled; about 400 bytes each, so 26 MB. Beyond it: `busy`. */
  readonly queuedRecordsMax: number;

  /** Objects that are not changed, for reads: 11 KiB for each whole object of 4 MiB. */
  readonly cacheBytesMax: number;
  /** Changed objects that start a checkpoint: all of a volume of 16 GiB fit, and then it is the log
   * that starts them, which is cheaper for each write … */
  readonly checkpointPinnedBytes: number;
  /** … and those at which writes wait for it. */
  readonly pinnedBytesMax: number;
  /** Log bytes that start a checkpoint: replay reads 256 MiB in about half a second. */
  readonly checkpointLogBytes: number;
  readonly checkpointAgeMs: number;
  /** A checkpoint gives way to requests after so long … */
  readonly checkpointSliceMs: number;
  /** … and commits after so many bytes of index or so many objects: handing a value to LMDB takes
   * 10 µs, so a commit holds the event loop for about 2 ms. */
  readonly checkpointCommitBytes: number;
  readonly checkpointCommitObjects: number;

  /** Segments that only cleaning and records that free space may use. */
  readonly reserveSegments: number;
  /** Space of the filesystem that segments leave to the index. */
  readonly indexSpaceBytes: number;
  /** Of what can hold live data, this share is kept dead so that cleaning always gains. */
  readonly cleaningSlackRatio: number;
  /** Free segments, as a share of all, above which segments may be left to die by themselves. */
  readonly ampleFreeRatio: number;
  /** Free segments, as a share of all, below which cleaning is not held back by its rate. */
  readonly urgentFreeRatio: number;
  /** Cleaning leaves the log alone while it has fewer segments than this. */
  readonly relaxedSegmentsMin: number;
  /**
   * Segments whose live share is above this are left alone: while most of the space is free, while
   * there is room, when room gets short, and while writes wait for room. What moves a share of `x` to free a segment gains
   * `1 - x` of one, less what moved blocks lose: headers (2 %) and the end of a segment that the
   * next record does not fit into (`cleaningBytes` of `segmentBytes`, 1.6 %).
   */
  readonly ampleVictimLiveRatio: number;
  readonly relaxedVictimLiveRatio: number;
  readonly urgentVictimLiveRatio: number;
  readonly blockedVictimLiveRatio: number;
  readonly cleaningBytesPerSecond: number;
  /** Live blocks read, then appended, at once. */
  readonly cleaningBytes: number;
  readonly scrubBytesPerSecond: number;
  /** From opening to the first scrub … */
  readonly scrubStartMs: number;
  /** … and from the end of one to the start of the next. */
  readonly scrubPauseMs: number;
  /** How often the background looks whether there is something to do. */
  readonly tickMs: number;

  /** Open files for reading segments. */
  readonly openSegmentsMax: number;
  /** Pages read at once by replay and cleaning. */
  readonly scanBytes: number;
}

export const ENGINE_LIMITS: EngineLimits = {
  segmentBytes: 64 * MIB,
  batchPayloadBytesMax: 8 * MIB,
  bulkBatchBytes: 1 * MIB,
  batchRecordsMax: 1024,
  batchHeaderBytesMax: 128 * KIB,
  batchBuffersMax: 1000,
  queuedRecordsMax: 64 * 1024,
  cacheBytesMax: 32 * MIB,
  checkpointPinnedBytes: 48 * MIB,
  pinnedBytesMax: 96 * MIB,
  checkpointLogBytes: 256 * MIB,
  checkpointAgeMs: 60_000,
  checkpointSliceMs: 2,
  checkpointCommitBytes: 1 * MIB,
  checkpointCommitObjects: 192,
  reserveSegments: 2,
  indexSpaceBytes: 32 * MIB,
  cleaningSlackRatio: 0.1,
  ampleFreeRatio: 0.5,
  urgentFreeRatio: 0.1,
  relaxedSegmentsMin: 8,
  ampleVictimLiveRatio: 0.25,
  relaxedVictimLiveRatio: 0.5,
  urgentVictimLiveRatio: 0.8,
  blockedVictimLiveRatio: 0.95,
  cleaningBytesPerSecond: 32 * MIB,
  cleaningBytes: 1 * MIB,
  scrubBytesPerSecond: 8 * MIB,
  scrubStartMs: 3600_000,
  scrubPauseMs: 24 * 3600_000,
  tickMs: 1000,
  openSegmentsMax: 256,
  scanBytes: 1 * MIB,
};
