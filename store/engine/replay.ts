/**
 * Brings the index from the last checkpoint to the end of the log.
 *
 * Owns: walking the log, telling a torn end from damage, and what is reported. Does not own: the
 * effect of a record (apply-record.ts).
 *
 * Rules:
 * - A batch counts if its header and all of its payload match their checksums, and its number is
 *   the next one. The batch after it is at the next block, or the first one of a later segment.
 * - Where there is none, and no batch with that number or a higher one anywhere later, the log
 *   ends: what may stand there was never acknowledged (one batch is written at a time, and the next
 *   one only after it is durable).
 * - If there is a later one, acknowledged records are missing: damage. It is refused, or, if asked
 *   for, noted; replay then goes on with that batch, and drops objects whose chain of versions is
 *   broken.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import type { Disk, DiskFile } from '../runtime/disk.ts';
import { DroverError } from '../runtime/drover-error.ts';
import { applyRecord, type EngineState, lsnOf } from './apply-record.ts';
import { outlineBatch } from './batch-decoder.ts';
import { BatchScanner, type ScannedBatch } from './batch-scanner.ts';
import type { EngineStats } from './engine-stats.ts';
import { BATCH_HEADER } from './layouts.ts';
import type { EngineLimits } from './limits.ts';
import type { LogPosition } from './log-position.ts';
import { type LogRecord, RecordType } from './log-record.ts';
import type { ObjectEntry } from './object-entry.ts';
import { decodeSegmentHeader, FIRST_POSITION, NONCE_BYTES } from './segment-header.ts';

export interface Damage {
  readonly segmentId: number;
  readonly offsetBytes: number;
  readonly reason: string;
}

export interface ReplayOptions {
  readonly state: EngineState;
  readonly disk: Disk;
  readonly path: (segmentId: number) => string;
  /** In ascending order. */
  readonly segmentIds: readonly number[];
  readonly start: LogPosition;
  /** The index on disk holds changes of batches below this number. */
  readonly knownBatchSeq: number;
  readonly nodeId: string;
  readonly limits: EngineLimits;
  readonly stats: EngineStats;
  readonly onDamage: 'refuse' | 'degrade';
}

export interface ReplayResult {
  /** Where the next batch goes. */
  readonly end: LogPosition;
  /** The segment there; `undefined` if it has no header or its file is short. */
  readonly endNonce: Buffer | undefined;
  readonly damage: readonly Damage[];
  /** Acknowledged records are missing; payload that has rotted is damage and nothing missing. */
  readonly lacksRecords: boolean;
}

/** The checkpoint of a new directory names no segment. */
export const SEGMENT_NONE = 0;

interface OpenedSegment {
  readonly segmentId: number;
  readonly file: DiskFile;
  readonly sizeBytes: number;
  /** `undefined` if the header is not readable. */
  readonly scanner: BatchScanner | undefined;
}

export async function replayLog(options: ReplayOptions): Promise<ReplayResult> {
  const files: DiskFile[] = [];
  try {
    const segments: OpenedSegment[] = [];
    for (const segmentId of options.segmentIds) {
      if (segmentId < options.start.segmentId) continue;
      const file = await options.disk.open(options.path(segmentId), {});
      files.push(file);
      segments.push(await readHeader(options, segmentId, file));
    }
    return await new Replay(options, segments).run();
  } finally {
    for (const file of files) await file.close();
  }
}

async function readHeader(
  options: ReplayOptions,
  segmentId: number,
  file: DiskFile,
): Promise<OpenedSegment> {
  const { limits, nodeId } = options;
  // What a killed process wrote may be in the page cache alone: it is trusted only when durable.
  await file.sync();
  const sizeBytes = await file.sizeBytes();
  const block = Buffer.alloc(BLOCK_BYTES);
  const read = await file.read([block], 0);
  const header = decodeSegmentHeader(block.subarray(0, read));
  if (header === undefined) return { segmentId, file, sizeBytes, scanner: undefined };
  if (header.nodeId !== nodeId) {
    throw new DroverError(
      'invalid',
      `segment ${segmentId} belongs to node ${header.nodeId}, the directory to node ${nodeId}`,
    );
  }
  const isRight = header.segmentId === segmentId && header.segmentBytes === limits.segmentBytes;
  const blocks = limits.segmentBytes / BLOCK_BYTES;
  const scanner = isRight ? new BatchScanner(file, header, blocks, limits.scanBytes) : undefined;
  return { segmentId, file, sizeBytes, scanner };
}

class Replay {
  readonly #options: ReplayOptions;
  readonly #segments: readonly OpenedSegment[];
  readonly #damage: Damage[] = [];
  /** Objects with a write whose base is missing; a whole replacement that follows settles it. */
  readonly #broken = new Map<ObjectEntry, Damage>();
  #at = 0;
  #position: number;
  #batchSeq: number;
  #lacksRecords = false;

  constructor(options: ReplayOptions, segments: readonly OpenedSegment[]) {
    this.#options = options;
    this.#segments = segments;
    this.#position = options.start.position;
    this.#batchSeq = options.start.batchSeq;
  }

  async run(): Promise<ReplayResult> {
    const { start, knownBatchSeq, limits } = this.#options;
    const first = this.#segments[0]?.segmentId;
    const isMissing =
      start.segmentId !== SEGMENT_NONE &&
      first !== start.segmentId &&
      (first !== undefined || start.position > FIRST_POSITION);
    if (isMissing) {
      this.#noteLoss(start.segmentId, this.#position, 'the segment is missing');
      this.#position = FIRST_POSITION;
    }
    while (this.#segments.length > 0 && (await this.#step())) {
      // Each step applies one batch, or goes to where the next one is.
    }
    const segment = this.#segments[this.#at];
    const segmentId = segment?.segmentId ?? start.segmentId;
    if (this.#batchSeq < knownBatchSeq) {
      this.#noteLoss(segmentId, this.#position, `the index knows of batch ${knownBatchSeq - 1}`);
      this.#batchSeq = knownBatchSeq;
    }
    this.#settleBroken();
    const isWhole = segment?.sizeBytes === limits.segmentBytes;
    return {
      end: { segmentId, position: this.#position, batchSeq: this.#batchSeq },
      endNonce: isWhole ? segment.scanner?.stamp.nonce : undefined,
      damage: this.#damage,
      lacksRecords: this.#lacksRecords,
    };
  }

  /** False at the end of the log. */
  async #step(): Promise<boolean> {
    const segment = this.#segments[this.#at]!;
    const found = await segment.scanner?.batchAt(this.#position);
    const batch = found?.batchSeq === this.#batchSeq ? found : undefined;
    if (batch !== undefined && (await segment.scanner!.hasGoodPayload(batch))) {
      this.#apply(batch, segment.segmentId);
      return true;
    }
    const next = await this.#findLater();
    if (next === undefined) return false;
    if (batch !== undefined) {
      // Its blocks may have rotted, but it was written whole: another batch follows it.
      this.#note(segment.segmentId, batch.position, `batch ${batch.batchSeq} has damaged payload`);
      this.#apply(batch, segment.segmentId);
      return true;
    }
    const { at, batch: later } = next;
    if (at === this.#at || later.batchSeq !== this.#batchSeq || later.position !== FIRST_POSITION) {
      this.#noteLoss(
        segment.segmentId,
        this.#position,
        `batch ${this.#batchSeq} is damaged, batch ${later.batchSeq} follows it`,
      );
    }
    this.#at = at;
    this.#position = later.position;
    this.#batchSeq = later.batchSeq;
    return true;
  }

  /**
   * The next batch behind the place where one is missing. One with the missing number must be
   * good to count; one with a higher number was written only after the missing one was durable.
   */
  async #findLater(): Promise<{ at: number; batch: ScannedBatch } | undefined> {
    for (let at = this.#at; at < this.#segments.length; at += 1) {
      const segment = this.#segments[at]!;
      const { scanner } = segment;
      let from = at === this.#at ? this.#position + 1 : FIRST_POSITION;
      if (scanner === undefined) {
        await this.#checkHeaderless(segment, from > FIRST_POSITION + 1);
        continue;
      }
      for (;;) {
        const batch = await scanner.findBatch(from, this.#batchSeq);
        if (batch === undefined) break;
        if (batch.batchSeq > this.#batchSeq || (await scanner.hasGoodPayload(batch))) {
          return { at, batch };
        }
        from = batch.position + 1;
      }
    }
    return undefined;
  }

  /** A segment without a readable header is damage only if the log had come to it. */
  async #checkHeaderless({ file, segmentId }: OpenedSegment, wasInUse: boolean): Promise<void> {
    const block = Buffer.alloc(BLOCK_BYTES);
    const read = await file.read([block], FIRST_POSITION * BLOCK_BYTES);
    const nonce = block.subarray(BATCH_HEADER.nonce, BATCH_HEADER.nonce + NONCE_BYTES);
    const blocks = this.#options.limits.segmentBytes / BLOCK_BYTES;
    const bytes = block.subarray(0, read);
    const outline = outlineBatch(bytes, { segmentId, nonce }, FIRST_POSITION, blocks);
    if (wasInUse || (outline !== undefined && outline.batchSeq >= this.#batchSeq)) {
      this.#noteLoss(segmentId, 0, 'the segment header is damaged');
    }
  }

  #apply(batch: ScannedBatch, segmentId: number): void {
    const { stats } = this.#options;
    let position = batch.payloadPosition;
    for (let i = 0; i < batch.records.length; i += 1) {
      const record = batch.records[i]!;
      this.#applyRecord(record, segmentId, position, lsnOf(batch.batchSeq, i));
      position += record.blockCrcs.length;
    }
    stats.replayedRecords += batch.records.length;
    stats.replayedBytes += (batch.endPosition - batch.position) * BLOCK_BYTES;
    this.#position = batch.endPosition;
    this.#batchSeq += 1;
  }

  #applyRecord(record: LogRecord, segmentId: number, position: number, lsn: number): void {
    const { state } = this.#options;
    const { type, layerId, objectIndex } = record;
    if (type === RecordType.adoptEpoch || type === RecordType.removeLayer) {
      applyRecord(state, record, undefined, segmentId, position, lsn);
      return;
    }
    if (state.index.removedLayers.has(layerId)) {
      // Only its epoch counts.
      applyRecord(state, record, undefined, segmentId, position, lsn);
      return;
    }
    const entry = state.index.pin(layerId, objectIndex);
    if (lsn <= entry.lsn) {
      if (record.epoch > 0) state.epochs.becameDurable(record.volumeId, record.epoch);
      return;
    }
    if (type === RecordType.write || type === RecordType.repair) {
      if (entry.epoch !== record.baseEpoch || entry.seq !== record.baseSeq) {
        this.#broken.set(entry, {
          segmentId,
          offsetBytes: position * BLOCK_BYTES,
          reason: `object ${objectIndex} of layer ${layerId} lacks version ${record.baseEpoch}.${record.baseSeq}`,
        });
        return;
      }
    } else if (type !== RecordType.relocate) {
      this.#broken.delete(entry);
    }
    applyRecord(state, record, entry, segmentId, position, lsn);
  }

  /** An object whose chain is broken is dropped: no version of it may pass for what it is not. */
  #settleBroken(): void {
    const { index } = this.#options.state;
    for (const [entry, damage] of this.#broken) {
      if (index.removedLayers.has(entry.layerId)) continue;
      this.#lacksRecords = true;
      this.#noteDamage(damage);
      index.repin(entry);
      index.clearBlocks(entry);
      index.setVersion(entry, 0, 0);
      entry.lsn = lsnOf(this.#batchSeq, 0) - 1;
    }
  }

  #noteLoss(segmentId: number, position: number, reason: string): void {
    this.#lacksRecords = true;
    this.#note(segmentId, position, reason);
  }

  #note(segmentId: number, position: number, reason: string): void {
    this.#noteDamage({ segmentId, offsetBytes: position * BLOCK_BYTES, reason });
  }

  #noteDamage(damage: Damage): void {
    if (this.#options.onDamage === 'refuse') {
      throw new DroverError(
        'corrupt',
        `the log is damaged in segment ${damage.segmentId} at byte ${damage.offsetBytes}: ${damage.reason}`,
      );
    }
    this.#damage.push(damage);
  }
}
