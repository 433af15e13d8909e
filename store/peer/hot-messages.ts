/**
 * Write and read: the two messages of the data path, and the answer of a read.
 *
 * Owns: their layouts, encoding and decoding at the layouts' offsets (an object decoded by a
 * layout costs several times more), and refusing what does not add up. The answer of a write has
 * no body. Does not own: the frame around them, payload bytes and their checksums.
 */
import assert from 'node:assert';
import { type Structure, struct, u8, u16, u32, u48 } from 'buffer-layout';
import {
  BlockKind,
  type Extent,
  type ReadRequest,
  type ReadResult,
  type WriteRequest,
} from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import { DroverError } from '../runtime/drover-error.ts';
import { OBJECT_BLOCKS_MAX } from './limits.ts';
import { offsetIn } from './wire.ts';

const TWO_32 = 2 ** 32;
/** The upper half of a number below 2^53. */
const UPPER_HALF_MAX = 2 ** 21 - 1;

interface WriteFields {
  volumeId: number;
  layerId: number;
  objectIndex: number;
  epoch: number;
  baseEpoch: number;
  baseSeqLow: number;
  baseSeqHigh: number;
  targetEpoch: number;
  targetSeqLow: number;
  targetSeqHigh: number;
  extentCount: number;
  dataBlockCount: number;
}
/** Followed by the extents, then a u32 checksum for each data block. */
export const writeLayout: Structure<WriteFields> = struct<WriteFields>([
  u48('volumeId'),
  u48('layerId'),
  u32('objectIndex'),
  u32('epoch'),
  u32('baseEpoch'),
  u32('baseSeqLow'),
  u32('baseSeqHigh'),
  u32('targetEpoch'),
  u32('targetSeqLow'),
  u32('targetSeqHigh'),
  u16('extentCount'),
  u16('dataBlockCount'),
]);
const WRITE_BYTES = 48;
assert.equal(writeLayout.span, WRITE_BYTES);

interface ExtentFields {
  startBlock: number;
  blockCount: number;
  kind: number;
  reserved: number;
}
export const extentLayout: Structure<ExtentFields> = struct<ExtentFields>([
  u16('startBlock'),
  u16('blockCount'),
  u8('kind'),
  u8('reserved'),
]);
const EXTENT_BYTES = 6;
assert.equal(extentLayout.span, EXTENT_BYTES);

interface ReadFields {
  layerId: number;
  objectIndex: number;
  expectedEpoch: number;
  expectedSeqLow: number;
  expectedSeqHigh: number;
  startBlock: number;
  blockCount: number;
}
export const readLayout: Structure<ReadFields> = struct<ReadFields>([
  u48('layerId'),
  u32('objectIndex'),
  u32('expectedEpoch'),
  u32('expectedSeqLow'),
  u32('expectedSeqHigh'),
  u16('startBlock'),
  u16('blockCount'),
]);
export const READ_BYTES = 26;
assert.equal(readLayout.span, READ_BYTES);

interface ReadAnswerFields {
  blockCount: number;
  dataBlockCount: number;
}
/** Followed by a u8 kind for each block, then a u32 checksum for each data block. */
export const readAnswerLayout: Structure<ReadAnswerFields> = struct<ReadAnswerFields>([
  u16('blockCount'),
  u16('dataBlockCount'),
]);
const READ_ANSWER_BYTES = 4;
assert.equal(readAnswerLayout.span, READ_ANSWER_BYTES);

const W_VOLUME = offsetIn(writeLayout, 'volumeId');
const W_LAYER = offsetIn(writeLayout, 'layerId');
const W_OBJECT = offsetIn(writeLayout, 'objectIndex');
const W_EPOCH = offsetIn(writeLayout, 'epoch');
const W_BASE = offsetIn(writeLayout, 'baseEpoch');
const W_TARGET = offsetIn(writeLayout, 'targetEpoch');
const W_EXTENTS = offsetIn(writeLayout, 'extentCount');
const W_BLOCKS = offsetIn(writeLayout, 'dataBlockCount');
const E_START = offsetIn(extentLayout, 'startBlock');
const E_COUNT = offsetIn(extentLayout, 'blockCount');
const E_KIND = offsetIn(extentLayout, 'kind');
const E_RESERVED = offsetIn(extentLayout, 'reserved');
const R_LAYER = offsetIn(readLayout, 'layerId');
const R_OBJECT = offsetIn(readLayout, 'objectIndex');
const R_EXPECTED = offsetIn(readLayout, 'expectedEpoch');
const R_START = offsetIn(readLayout, 'startBlock');
const R_COUNT = offsetIn(readLayout, 'blockCount');
const A_COUNT = offsetIn(readAnswerLayout, 'blockCount');
const A_DATA = offsetIn(readAnswerLayout, 'dataBlockCount');

interface MutableVersion {
  epoch: number;
  seq: number;
}

/** Hot path. A version is its epoch, then the lower and the upper half of its seq. */
export function putVersion(bytes: Buffer, at: number, epoch: number, seq: number): void {
  bytes.writeUInt32LE(epoch, at);
  bytes.writeUInt32LE(seq % TWO_32, at + 4);
  bytes.writeUInt32LE(Math.floor(seq / TWO_32), at + 8);
}

/** Hot path. */
export function takeVersion(bytes: Buffer, at: number): MutableVersion {
  const upper = bytes.readUInt32LE(at + 8);
  if (upper > UPPER_HALF_MAX) throw new DroverError('invalid', 'a seq of 2^53 or more');
  return { epoch: bytes.readUInt32LE(at), seq: upper * TWO_32 + bytes.readUInt32LE(at + 4) };
}

export function writeMetaBytes(request: WriteRequest): number {
  return WRITE_BYTES + request.extents.length * EXTENT_BYTES + request.blockCrcs.length * 4;
}

/** Hot path. */
export function encodeWrite(bytes: Buffer, at: number, request: WriteRequest): void {
  const { base, target, extents, blockCrcs } = request;
  bytes.writeUIntLE(request.volumeId, at + W_VOLUME, 6);
  bytes.writeUIntLE(request.layerId, at + W_LAYER, 6);
  bytes.writeUInt32LE(request.objectIndex, at + W_OBJECT);
  bytes.writeUInt32LE(request.epoch, at + W_EPOCH);
  putVersion(bytes, at + W_BASE, base.epoch, base.seq);
  putVersion(bytes, at + W_TARGET, target.epoch, target.seq);
  bytes.writeUInt16LE(extents.length, at + W_EXTENTS);
  bytes.writeUInt16LE(blockCrcs.length, at + W_BLOCKS);
  let next = at + WRITE_BYTES;
  for (let i = 0; i < extents.length; i += 1) {
    const extent = extents[i]!;
    bytes.writeUInt16LE(extent.startBlock, next + E_START);
    bytes.writeUInt16LE(extent.blockCount, next + E_COUNT);
    bytes[next + E_KIND] = extent.kind;
    bytes[next + E_RESERVED] = 0;
    next += EXTENT_BYTES;
  }
  putCrcs(bytes, next, blockCrcs);
}

/** Hot path. `payload` is where the frame's payload will be. Error: `invalid`. */
export function decodeWrite(
  bytes: Buffer,
  at: number,
  metaBytes: number,
  payloadBytes: number,
  payload: readonly Buffer[],
): WriteRequest {
  if (metaBytes < WRITE_BYTES) throw new DroverError('invalid', 'a write that is cut short');
  const extentCount = bytes.readUInt16LE(at + W_EXTENTS);
  const dataBlocks = bytes.readUInt16LE(at + W_BLOCKS);
  if (metaBytes !== WRITE_BYTES + extentCount * EXTENT_BYTES + dataBlocks * 4) {
    throw new DroverError('invalid', 'a write whose counts are not those of its length');
  }
  const extentsAt = at + WRITE_BYTES;
  const extents = takeExtents(bytes, extentsAt, extentCount, dataBlocks);
  if (payloadBytes !== dataBlocks * BLOCK_BYTES) {
    throw new DroverError('invalid', `${dataBlocks} data blocks in ${payloadBytes} bytes`);
  }
  return {
    volumeId: bytes.readUIntLE(at + W_VOLUME, 6),
    layerId: bytes.readUIntLE(at + W_LAYER, 6),
    objectIndex: bytes.readUInt32LE(at + W_OBJECT),
    epoch: bytes.readUInt32LE(at + W_EPOCH),
    base: takeVersion(bytes, at + W_BASE),
    target: takeVersion(bytes, at + W_TARGET),
    extents,
    blockCrcs: takeCrcs(bytes, extentsAt + extentCount * EXTENT_BYTES, dataBlocks),
    payload,
  };
}

/** Hot path. Ascending, not overlapping, within an object, of known kinds, `dataBlocks` of data. */
function takeExtents(bytes: Buffer, at: number, count: number, dataBlocks: number): Extent[] {
  const extents: Extent[] = [];
  let next = at;
  let blockMin = 0;
  let dataFound = 0;
  for (let i = 0; i < count; i += 1) {
    const startBlock = bytes.readUInt16LE(next + E_START);
    const blockCount = bytes.readUInt16LE(next + E_COUNT);
    const kind = bytes[next + E_KIND]!;
    if (startBlock < blockMin || blockCount === 0 || startBlock + blockCount > OBJECT_BLOCKS_MAX) {
      throw new DroverError('invalid', `extent ${startBlock}+${blockCount} out of place`);
    }
    if (!isBlockKind(kind) || bytes[next + E_RESERVED] !== 0) {
      throw new DroverError('invalid', `an extent of unknown kind ${kind}`);
    }
    if (kind === BlockKind.data) dataFound += blockCount;
    extents.push({ startBlock, blockCount, kind });
    blockMin = startBlock + blockCount;
    next += EXTENT_BYTES;
  }
  if (count === 0 || dataFound !== dataBlocks) {
    throw new DroverError('invalid', `extents of ${dataFound} data blocks, not ${dataBlocks}`);
  }
  return extents;
}

export function isBlockKind(kind: number): kind is BlockKind {
  return kind === BlockKind.data || kind === BlockKind.zero || kind === BlockKind.hole;
}

/** Hot path. */
export function putCrcs(bytes: Buffer, at: number, crcs: Uint32Array): void {
  for (let i = 0; i < crcs.length; i += 1) bytes.writeUInt32LE(crcs[i]!, at + i * 4);
}

/** Hot path. */
export function takeCrcs(bytes: Buffer, at: number, count: number): Uint32Array {
  const crcs = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) crcs[i] = bytes.readUInt32LE(at + i * 4);
  return crcs;
}

/** Hot path. */
export function encodeRead(bytes: Buffer, at: number, request: ReadRequest): void {
  bytes.writeUIntLE(request.layerId, at + R_LAYER, 6);
  bytes.writeUInt32LE(request.objectIndex, at + R_OBJECT);
  putVersion(bytes, at + R_EXPECTED, request.expected.epoch, request.expected.seq);
  bytes.writeUInt16LE(request.startBlock, at + R_START);
  bytes.writeUInt16LE(request.blockCount, at + R_COUNT);
}

/** Hot path. Error: `invalid`. */
export function decodeRead(bytes: Buffer, at: number, metaBytes: number): ReadRequest {
  if (metaBytes !== READ_BYTES) throw new DroverError('invalid', 'a read of wrong length');
  const startBlock = bytes.readUInt16LE(at + R_START);
  const blockCount = bytes.readUInt16LE(at + R_COUNT);
  if (blockCount === 0 || startBlock + blockCount > OBJECT_BLOCKS_MAX) {
    throw new DroverError('invalid', `read of blocks ${startBlock}+${blockCount}`);
  }
  return {
    layerId: bytes.readUIntLE(at + R_LAYER, 6),
    objectIndex: bytes.readUInt32LE(at + R_OBJECT),
    expected: takeVersion(bytes, at + R_EXPECTED),
    startBlock,
    blockCount,
  };
}

/** Hot path. */
export function dataBlocksIn(kinds: Uint8Array): number {
  let blocks = 0;
  for (let i = 0; i < kinds.length; i += 1) if (kinds[i] === BlockKind.data) blocks += 1;
  return blocks;
}

export function readAnswerMetaBytes(blockCount: number, dataBlocks: number): number {
  return READ_ANSWER_BYTES + blockCount + dataBlocks * 4;
}

/** Hot path. */
export function encodeReadAnswer(
  bytes: Buffer,
  at: number,
  result: ReadResult,
  dataBlocks: number,
): void {
  const { kinds, blockCrcs } = result;
  bytes.writeUInt16LE(kinds.length, at + A_COUNT);
  bytes.writeUInt16LE(dataBlocks, at + A_DATA);
  const kindsAt = at + READ_ANSWER_BYTES;
  let crcAt = kindsAt + kinds.length;
  for (let i = 0; i < kinds.length; i += 1) {
    bytes[kindsAt + i] = kinds[i]!;
    if (kinds[i] !== BlockKind.data) continue;
    bytes.writeUInt32LE(blockCrcs[i]!, crcAt);
    crcAt += 4;
  }
}

/** Hot path. Undefined if the answer is not one to a read of `blockCount` blocks. */
export function decodeReadAnswer(
  bytes: Buffer,
  at: number,
  metaBytes: number,
  payloadBytes: number,
  blockCount: number,
): ReadResult | undefined {
  if (metaBytes < READ_ANSWER_BYTES) return undefined;
  const dataBlocks = bytes.readUInt16LE(at + A_DATA);
  if (
    bytes.readUInt16LE(at + A_COUNT) !== blockCount ||
    metaBytes !== readAnswerMetaBytes(blockCount, dataBlocks) ||
    payloadBytes !== dataBlocks * BLOCK_BYTES
  ) {
    return undefined;
  }
  const kinds = new Uint8Array(blockCount);
  const blockCrcs = new Uint32Array(blockCount);
  const kindsAt = at + READ_ANSWER_BYTES;
  const crcsAt = kindsAt + blockCount;
  let dataFound = 0;
  for (let i = 0; i < blockCount; i += 1) {
    const kind = bytes[kindsAt + i]!;
    if (!isBlockKind(kind)) return undefined;
    kinds[i] = kind;
    if (kind !== BlockKind.data) continue;
    if (dataFound === dataBlocks) return undefined;
    blockCrcs[i] = bytes.readUInt32LE(crcsAt + dataFound * 4);
    dataFound += 1;
  }
  return dataFound === dataBlocks ? { kinds, blockCrcs } : undefined;
}
