/**
 * From the bytes of a batch's header to its records.
 *
 * Owns: checking and decoding, without I/O; written apart from the encoder on purpose, as what is
 * read may be torn or damaged. Does not own: payload and its checksums.
 * Invariant: a batch that decodes was written whole by this node to this very place.
 */
import { crc32 } from '@node-rs/crc32';
import { crcSeed, headerBlocksOf } from './batch-encoder.ts';
import {
  BATCH_HEADER,
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  CRC_BYTES,
  EXTENT,
  EXTENT_BYTES,
  RECORD,
  RECORD_BYTES,
  readUint48,
  readUint53,
  SOURCE,
  SOURCE_BYTES,
} from './layouts.ts';
import { BATCH_RECORDS_LIMIT, OBJECT_BLOCKS_MAX } from './limits.ts';
import {
  type BlockSource,
  isRecordType,
  type LogRecord,
  NO_SOURCES,
  RecordType,
} from './log-record.ts';
import { BlockKind, type Extent } from './store-node.ts';

/** What tells a batch of one segment from all other bytes. */
export interface SegmentStamp {
  readonly segmentId: number;
  readonly nonce: Buffer;
}

/** The fixed part of a header that may be one: its bytes are not checked yet. */
export interface BatchOutline {
  readonly batchSeq: number;
  readonly headerBytes: number;
  readonly headerBlocks: number;
  readonly payloadBlocks: number;
  readonly recordCount: number;
}

/** `undefined` if the bytes at a block's start are certainly no batch of this segment and place. */
export function outlineBatch(
  bytes: Buffer,
  stamp: SegmentStamp,
  position: number,
  segmentBlocks: number,
): BatchOutline | undefined {
  if (bytes.length < BATCH_HEADER_BYTES) return undefined;
  const nonceEnd = BATCH_HEADER.nonce + stamp.nonce.length;
  if (
    bytes.readUInt32LE(BATCH_HEADER.magic) !== BATCH_MAGIC ||
    bytes.readUInt32LE(BATCH_HEADER.segmentId) !== stamp.segmentId ||
    bytes.readUInt32LE(BATCH_HEADER.position) !== position ||
    bytes.compare(stamp.nonce, 0, stamp.nonce.length, BATCH_HEADER.nonce, nonceEnd) !== 0
  ) {
    return undefined;
  }
  const headerBytes = bytes.readUInt32LE(BATCH_HEADER.headerBytes);
  const headerBlocks = headerBlocksOf(headerBytes);
  const payloadBlocks = bytes.readUInt32LE(BATCH_HEADER.payloadBlocks);
  const recordCount = bytes.readUInt32LE(BATCH_HEADER.recordCount);
  if (
    headerBytes < BATCH_HEADER_BYTES ||
    position + headerBlocks + payloadBlocks > segmentBlocks ||
    recordCount > BATCH_RECORDS_LIMIT
  ) {
    return undefined;
  }
  const batchSeq = readUint53(bytes, BATCH_HEADER.batchSeq);
  return { batchSeq, headerBytes, headerBlocks, payloadBlocks, recordCount };
}

/** The records of a header whose outline is known; `undefined` if it is torn or damaged. */
export function decodeRecords(
  bytes: Buffer,
  stamp: SegmentStamp,
  outline: BatchOutline,
): LogRecord[] | undefined {
  if (bytes.length < outline.headerBytes) return undefined;
  const header = bytes.subarray(0, outline.headerBytes);
  const crc = crc32(header.subarray(BATCH_HEADER.magic), crcSeed(stamp.nonce));
  if (crc !== header.readUInt32LE(BATCH_HEADER.crc)) return undefined;
  const records: LogRecord[] = [];
  let at = BATCH_HEADER_BYTES;
  let dataBlocks = 0;
  for (let i = 0; i < outline.recordCount; i += 1) {
    const decoded = decodeRecord(header, at);
    if (decoded === undefined) return undefined;
    records.push(decoded.record);
    dataBlocks += decoded.record.blockCrcs.length;
    at = decoded.end;
  }
  return at === outline.headerBytes && dataBlocks === outline.payloadBlocks ? records : undefined;
}

function decodeRecord(
  bytes: Buffer,
  start: number,
): { readonly record: LogRecord; readonly end: number } | undefined {
  if (start + RECORD_BYTES > bytes.length) return undefined;
  const type = bytes.readUInt8(start + RECORD.type);
  if (!isRecordType(type)) return undefined;
  const extentCount = bytes.readUInt16LE(start + RECORD.extentCount);
  const dataBlockCount = bytes.readUInt32LE(start + RECORD.dataBlockCount);
  const sourceCount = type === RecordType.relocate ? extentCount : 0;
  const extentsAt = start + RECORD_BYTES;
  const sourcesAt = extentsAt + extentCount * EXTENT_BYTES;
  const crcsAt = sourcesAt + sourceCount * SOURCE_BYTES;
  const end = crcsAt + dataBlockCount * CRC_BYTES;
  if (end > bytes.length) return undefined;
  const extents = decodeExtents(bytes, extentsAt, extentCount, dataBlockCount);
  if (extents === undefined) return undefined;
  const blockCrcs = new Uint32Array(dataBlockCount);
  for (let i = 0; i < dataBlockCount; i += 1) {
    blockCrcs[i] = bytes.readUInt32LE(crcsAt + i * CRC_BYTES);
  }
  const record: LogRecord = {
    type,
    volumeId: readUint48(bytes, start + RECORD.volumeId),
    epoch: bytes.readUInt32LE(start + RECORD.epoch),
    layerId: readUint48(bytes, start + RECORD.layerId),
    objectIndex: bytes.readUInt32LE(start + RECORD.objectIndex),
    baseEpoch: bytes.readUInt32LE(start + RECORD.baseEpoch),
    baseSeq: readUint53(bytes, start + RECORD.baseSeq),
    targetEpoch: bytes.readUInt32LE(start + RECORD.targetEpoch),
    targetSeq: readUint53(bytes, start + RECORD.targetSeq),
    extents,
    sources: sourceCount === 0 ? NO_SOURCES : decodeSources(bytes, sourcesAt, sourceCount),
    blockCrcs,
  };
  return { record, end };
}

function decodeExtents(
  bytes: Buffer,
  start: number,
  count: number,
  dataBlockCount: number,
): Extent[] | undefined {
  const extents: Extent[] = [];
  let dataBlocks = 0;
  for (let at = start; extents.length < count; at += EXTENT_BYTES) {
    const startBlock = bytes.readUInt16LE(at + EXTENT.startBlock);
    const blockCount = bytes.readUInt16LE(at + EXTENT.blockCount);
    const kind = bytes.readUInt8(at + EXTENT.kind);
    if (kind > BlockKind.data || startBlock + blockCount > OBJECT_BLOCKS_MAX) return undefined;
    if (kind === BlockKind.data) dataBlocks += blockCount;
    extents.push({ startBlock, blockCount, kind: kind as BlockKind });
  }
  return dataBlocks === dataBlockCount ? extents : undefined;
}

function decodeSources(bytes: Buffer, start: number, count: number): BlockSource[] {
  const sources: BlockSource[] = [];
  for (let at = start; sources.length < count; at += SOURCE_BYTES) {
    sources.push({
      segmentId: bytes.readUInt32LE(at + SOURCE.segmentId),
      position: bytes.readUInt16LE(at + SOURCE.position),
    });
  }
  return sources;
}
