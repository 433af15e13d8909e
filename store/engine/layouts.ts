/**
 * Every fixed layout that the engine writes to disk, little-endian; docs/formats.md shows them.
 *
 * Owns: the layouts, their spans and the offsets of their fields. Does not own: what is done with
 * them. Batches are written and read on hot paths, at the offsets given here, with direct reads
 * and writes of numbers. A change of anything here is a new `FORMAT_VERSION`.
 */
import assert from 'node:assert';
import { blob, nu64, type Structure, struct, u8, u16, u32, u48 } from 'buffer-layout';

export const FORMAT_VERSION = 1;

function layout(span: number, fields: Parameters<typeof struct>[0]): Structure<unknown> {
  const structure = struct<unknown>(fields);
  assert.equal(structure.span, span);
  return structure;
}

function offset(of: Structure<unknown>, field: string): number {
  const at = of.offsetOf(field);
  assert(at !== undefined, `no field ${field}`);
  return at;
}

export const SEGMENT_MAGIC = Buffer.from('DROVRSEG', 'latin1');
/** The first four bytes of "DBAT", as a number. */
export const BATCH_MAGIC = 0x54414244;

const segmentHeader = layout(64, [
  blob(8, 'magic'),
  u32('crc'),
  u32('formatVersion'),
  u32('segmentBytes'),
  u32('segmentId'),
  blob(16, 'nodeId'),
  blob(16, 'nonce'),
  nu64('reserved'),
]);

export const SEGMENT_HEADER = {
  magic: offset(segmentHeader, 'magic'),
  crc: offset(segmentHeader, 'crc'),
  formatVersion: offset(segmentHeader, 'formatVersion'),
  segmentBytes: offset(segmentHeader, 'segmentBytes'),
  segmentId: offset(segmentHeader, 'segmentId'),
  nodeId: offset(segmentHeader, 'nodeId'),
  nonce: offset(segmentHeader, 'nonce'),
} as const;

const batchHeader = layout(56, [
  u32('crc'),
  u32('magic'),
  blob(16, 'nonce'),
  u32('segmentId'),
  u32('position'),
  nu64('batchSeq'),
  u32('headerBytes'),
  u32('payloadBlocks'),
  u32('recordCount'),
  u32('reserved'),
]);

export const BATCH_HEADER_BYTES = batchHeader.span;
export const BATCH_HEADER = {
  crc: offset(batchHeader, 'crc'),
  magic: offset(batchHeader, 'magic'),
  nonce: offset(batchHeader, 'nonce'),
  segmentId: offset(batchHeader, 'segmentId'),
  position: offset(batchHeader, 'position'),
  batchSeq: offset(batchHeader, 'batchSeq'),
  headerBytes: offset(batchHeader, 'headerBytes'),
  payloadBlocks: offset(batchHeader, 'payloadBlocks'),
  recordCount: offset(batchHeader, 'recordCount'),
  reserved: offset(batchHeader, 'reserved'),
} as const;

const record = layout(56, [
  u8('type'),
  u8('reserved'),
  u16('extentCount'),
  u32('dataBlockCount'),
  u48('volumeId'),
  u16('reserved1'),
  u48('layerId'),
  u16('reserved2'),
  u32('objectIndex'),
  u32('epoch'),
  u32('baseEpoch'),
  u32('targetEpoch'),
  nu64('baseSeq'),
  nu64('targetSeq'),
]);

export const RECORD_BYTES = record.span;
export const RECORD = {
  type: offset(record, 'type'),
  extentCount: offset(record, 'extentCount'),
  dataBlockCount: offset(record, 'dataBlockCount'),
  volumeId: offset(record, 'volumeId'),
  layerId: offset(record, 'layerId'),
  objectIndex: offset(record, 'objectIndex'),
  epoch: offset(record, 'epoch'),
  baseEpoch: offset(record, 'baseEpoch'),
  targetEpoch: offset(record, 'targetEpoch'),
  baseSeq: offset(record, 'baseSeq'),
  targetSeq: offset(record, 'targetSeq'),
} as const;

const extent = layout(8, [u16('startBlock'), u16('blockCount'), u8('kind'), blob(3, 'reserved')]);
export const EXTENT_BYTES = extent.span;
export const EXTENT = {
  startBlock: offset(extent, 'startBlock'),
  blockCount: offset(extent, 'blockCount'),
  kind: offset(extent, 'kind'),
} as const;

const source = layout(8, [u32('segmentId'), u16('position'), u16('reserved')]);
export const SOURCE_BYTES = source.span;
export const SOURCE = {
  segmentId: offset(source, 'segmentId'),
  position: offset(source, 'position'),
} as const;

export const CRC_BYTES = 4;

const objectValue = layout(28, [
  nu64('lsn'),
  nu64('seq'),
  u32('epoch'),
  u32('blockCount'),
  u32('runCount'),
]);
export const OBJECT_VALUE_BYTES = objectValue.span;
export const OBJECT_VALUE = {
  lsn: offset(objectValue, 'lsn'),
  seq: offset(objectValue, 'seq'),
  epoch: offset(objectValue, 'epoch'),
  blockCount: offset(objectValue, 'blockCount'),
  runCount: offset(objectValue, 'runCount'),
} as const;

const run = layout(12, [u16('startBlock'), u16('blockCount'), u32('segmentId'), u32('position')]);
export const RUN_BYTES = run.span;
export const RUN = {
  startBlock: offset(run, 'startBlock'),
  blockCount: offset(run, 'blockCount'),
  segmentId: offset(run, 'segmentId'),
  position: offset(run, 'position'),
} as const;

const versionEntry = layout(12, [u32('epoch'), nu64('seq')]);
export const VERSION_BYTES = versionEntry.span;
export const VERSION_ENTRY = {
  epoch: offset(versionEntry, 'epoch'),
  seq: offset(versionEntry, 'seq'),
} as const;

const checkpointValue = layout(32, [
  u32('formatVersion'),
  u32('segmentId'),
  u32('position'),
  u32('nextSegmentId'),
  nu64('batchSeq'),
  nu64('reserved'),
]);
export const CHECKPOINT_VALUE_BYTES = checkpointValue.span;
export const CHECKPOINT_VALUE = {
  formatVersion: offset(checkpointValue, 'formatVersion'),
  segmentId: offset(checkpointValue, 'segmentId'),
  position: offset(checkpointValue, 'position'),
  nextSegmentId: offset(checkpointValue, 'nextSegmentId'),
  batchSeq: offset(checkpointValue, 'batchSeq'),
} as const;

const TWO_32 = 2 ** 32;

/** Hot path. Writes a number below 2^53 as 64 bits. */
export function writeUint53(bytes: Buffer, value: number, at: number): void {
  const high = Math.floor(value / TWO_32);
  bytes.writeUInt32LE(value - high * TWO_32, at);
  bytes.writeUInt32LE(high, at + 4);
}

/** Hot path. Reads 64 bits that hold a number below 2^53 (more than that gives a wrong number). */
export function readUint53(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * TWO_32 + bytes.readUInt32LE(at);
}

/** Hot path. Writes a number below 2^48 as 48 bits and two zero bytes. */
export const writeUint48 = writeUint53;
export const readUint48 = readUint53;
