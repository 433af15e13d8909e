/**
 * The bytes of a batch's header: one group commit, described.
 *
 * Owns: one buffer that is used for every batch of a log, because one batch at a time is written.
 * Does not own: payload, which is written from its callers' buffers, or which records share a
 * batch. The checksum covers everything after it in the header and is seeded by the segment's
 * nonce, which no guest ever sees: a block of guest data cannot pass for a batch.
 */
import { crc32 } from '@node-rs/crc32';
import { BLOCK_BYTES } from '../geometry.ts';
import { alignedBuffer } from '../runtime/aligned-buffer.ts';
import type { Append } from './append.ts';
import {
  BATCH_HEADER,
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  CRC_BYTES,
  EXTENT,
  EXTENT_BYTES,
  RECORD,
  RECORD_BYTES,
  SOURCE,
  SOURCE_BYTES,
  writeUint48,
  writeUint53,
} from './layouts.ts';

export interface BatchPlace {
  readonly nonce: Buffer;
  readonly segmentId: number;
  readonly position: number;
  readonly batchSeq: number;
}

/** The seed of a batch header's checksum. */
export function crcSeed(nonce: Buffer): number {
  return nonce.readUInt32LE(0);
}

/** Whole blocks that a header of so many bytes takes. */
export function headerBlocksOf(headerBytes: number): number {
  return Math.ceil(headerBytes / BLOCK_BYTES);
}

export class BatchEncoder {
  #bytes = alignedBuffer(16 * BLOCK_BYTES);

  /**
   * Hot path. The header of a batch of `records`, padded to whole blocks with zeros; valid until
   * the next call. `headerBytes` is `BATCH_HEADER_BYTES` and the records' `headerBytes`.
   */
  encode(
    records: readonly Append[],
    headerBytes: number,
    payloadBlocks: number,
    place: BatchPlace,
  ): Buffer {
    const paddedBytes = headerBlocksOf(headerBytes) * BLOCK_BYTES;
    if (this.#bytes.length < paddedBytes) this.#bytes = alignedBuffer(paddedBytes * 2);
    const bytes = this.#bytes;
    bytes.writeUInt32LE(BATCH_MAGIC, BATCH_HEADER.magic);
    place.nonce.copy(bytes, BATCH_HEADER.nonce);
    bytes.writeUInt32LE(place.segmentId, BATCH_HEADER.segmentId);
    bytes.writeUInt32LE(place.position, BATCH_HEADER.position);
    writeUint53(bytes, place.batchSeq, BATCH_HEADER.batchSeq);
    bytes.writeUInt32LE(headerBytes, BATCH_HEADER.headerBytes);
    bytes.writeUInt32LE(payloadBlocks, BATCH_HEADER.payloadBlocks);
    bytes.writeUInt32LE(records.length, BATCH_HEADER.recordCount);
    bytes.writeUInt32LE(0, BATCH_HEADER.reserved);
    let at = BATCH_HEADER_BYTES;
    for (let i = 0; i < records.length; i += 1) at = encodeRecord(bytes, at, records[i]!);
    bytes.fill(0, at, paddedBytes);
    const covered = bytes.subarray(BATCH_HEADER.magic, headerBytes);
    bytes.writeUInt32LE(crc32(covered, crcSeed(place.nonce)), BATCH_HEADER.crc);
    return bytes.subarray(0, paddedBytes);
  }
}

/** Hot path. Returns the offset after the record. */
function encodeRecord(bytes: Buffer, start: number, record: Append): number {
  const { extents, sources, blockCrcs } = record;
  bytes.writeUInt16LE(record.type, start + RECORD.type);
  bytes.writeUInt16LE(extents.length, start + RECORD.extentCount);
  bytes.writeUInt32LE(blockCrcs.length, start + RECORD.dataBlockCount);
  writeUint48(bytes, record.volumeId, start + RECORD.volumeId);
  writeUint48(bytes, record.layerId, start + RECORD.layerId);
  bytes.writeUInt32LE(record.objectIndex, start + RECORD.objectIndex);
  bytes.writeUInt32LE(record.epoch, start + RECORD.epoch);
  bytes.writeUInt32LE(record.baseEpoch, start + RECORD.baseEpoch);
  bytes.writeUInt32LE(record.targetEpoch, start + RECORD.targetEpoch);
  writeUint53(bytes, record.baseSeq, start + RECORD.baseSeq);
  writeUint53(bytes, record.targetSeq, start + RECORD.targetSeq);
  let at = start + RECORD_BYTES;
  for (let i = 0; i < extents.length; i += 1) {
    const extent = extents[i]!;
    bytes.writeUInt16LE(extent.startBlock, at + EXTENT.startBlock);
    bytes.writeUInt16LE(extent.blockCount, at + EXTENT.blockCount);
    // The kind and three zero bytes.
    bytes.writeUInt32LE(extent.kind, at + EXTENT.kind);
    at += EXTENT_BYTES;
  }
  for (let i = 0; i < sources.length; i += 1) {
    const source = sources[i]!;
    bytes.writeUInt32LE(source.segmentId, at + SOURCE.segmentId);
    // The position and two zero bytes.
    bytes.writeUInt32LE(source.position, at + SOURCE.position);
    at += SOURCE_BYTES;
  }
  for (let i = 0; i < blockCrcs.length; i += 1) {
    bytes.writeUInt32LE(blockCrcs[i]!, at);
    at += CRC_BYTES;
  }
  return at;
}
