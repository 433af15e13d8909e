/**
 * Reads the batches of one segment, one after another.
 *
 * Owns: a window of the file that is read ahead, and finding batches in it. Does not own: what a
 * missing batch means; replay and cleaning decide that.
 */
import { crc32 } from '@node-rs/crc32';
import { BLOCK_BYTES } from '../geometry.ts';
import type { DiskFile } from '../runtime/disk.ts';
import {
  type BatchOutline,
  decodeRecords,
  outlineBatch,
  type SegmentStamp,
} from './batch-decoder.ts';
import type { LogRecord } from './log-record.ts';

export interface ScannedBatch {
  readonly position: number;
  readonly batchSeq: number;
  readonly records: readonly LogRecord[];
  /** Where the payload of the first record starts; the others' follow. */
  readonly payloadPosition: number;
  readonly endPosition: number;
}

export class BatchScanner {
  readonly stamp: SegmentStamp;
  readonly #file: DiskFile;
  readonly #segmentBlocks: number;
  readonly #window: Buffer;
  #windowStart = 0;
  #windowBytes = 0;

  constructor(file: DiskFile, stamp: SegmentStamp, segmentBlocks: number, windowBytes: number) {
    this.#file = file;
    this.stamp = stamp;
    this.#segmentBlocks = segmentBlocks;
    this.#window = Buffer.allocUnsafe(windowBytes);
  }

  /** The batch at `position`, its header checked; `undefined` if there is none. */
  async batchAt(position: number): Promise<ScannedBatch | undefined> {
    if (position >= this.#segmentBlocks) return undefined;
    const outline = await this.#outlineAt(position);
    if (outline === undefined) return undefined;
    const header = await this.#blocks(position, outline.headerBlocks);
    const records = decodeRecords(header, this.stamp, outline);
    if (records === undefined) return undefined;
    const payloadPosition = position + outline.headerBlocks;
    return {
      position,
      batchSeq: outline.batchSeq,
      records,
      payloadPosition,
      endPosition: payloadPosition + outline.payloadBlocks,
    };
  }

  /** The first batch from `position` on, at any block, that has `batchSeqMin` or a higher number. */
  async findBatch(position: number, batchSeqMin: number): Promise<ScannedBatch | undefined> {
    for (let at = position; at < this.#segmentBlocks; at += 1) {
      const outline = await this.#outlineAt(at);
      if (outline === undefined || outline.batchSeq < batchSeqMin) continue;
      const batch = await this.batchAt(at);
      if (batch !== undefined) return batch;
    }
    return undefined;
  }

  /** True if every block of the batch's payload matches its checksum. */
  async hasGoodPayload(batch: ScannedBatch): Promise<boolean> {
    let position = batch.payloadPosition;
    for (const { blockCrcs } of batch.records) {
      for (const blockCrc of blockCrcs) {
        const block = await this.block(position);
        if (block === undefined || crc32(block) !== blockCrc) return false;
        position += 1;
      }
    }
    return true;
  }

  /** One block, only valid until the next call; `undefined` past the file's end. */
  async block(position: number): Promise<Buffer | undefined> {
    const bytes = this.#inWindow(position, 1) ?? (await this.#blocks(position, 1));
    return bytes.length === BLOCK_BYTES ? bytes : undefined;
  }

  async #outlineAt(position: number): Promise<BatchOutline | undefined> {
    const bytes = this.#inWindow(position, 1) ?? (await this.#blocks(position, 1));
    return outlineBatch(bytes, this.stamp, position, this.#segmentBlocks);
  }

  #inWindow(position: number, count: number): Buffer | undefined {
    const start = (position - this.#windowStart) * BLOCK_BYTES;
    const end = start + count * BLOCK_BYTES;
    return start >= 0 && end <= this.#windowBytes ? this.#window.subarray(start, end) : undefined;
  }

  /** Fewer bytes at the file's end. */
  async #blocks(position: number, count: number): Promise<Buffer> {
    const known = this.#inWindow(position, count);
    if (known !== undefined) return known;
    const bytes = count * BLOCK_BYTES;
    if (bytes > this.#window.length) {
      const own = Buffer.allocUnsafe(bytes);
      const read = await this.#file.read([own], position * BLOCK_BYTES);
      return own.subarray(0, read);
    }
    this.#windowStart = position;
    this.#windowBytes = 0;
    this.#windowBytes = await this.#file.read([this.#window], position * BLOCK_BYTES);
    return this.#window.subarray(0, Math.min(bytes, this.#windowBytes));
  }
}
