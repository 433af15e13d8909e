/**
 * The values of the index on disk: objects, pages of versions, counts, the checkpoint.
 *
 * Owns: encoding and decoding, without I/O. Does not own: keys (index-store.ts). A value that
 * breaks a rule is a `corrupt` error.
 */
import { DroverError } from '../runtime/drover-error.ts';
import {
  CHECKPOINT_VALUE,
  CHECKPOINT_VALUE_BYTES,
  CRC_BYTES,
  FORMAT_VERSION,
  OBJECT_VALUE,
  OBJECT_VALUE_BYTES,
  RUN,
  RUN_BYTES,
  readUint53,
  VERSION_BYTES,
  VERSION_ENTRY,
  writeUint53,
} from './layouts.ts';
import { OBJECT_BLOCKS_MAX, VERSIONS_PER_PAGE } from './limits.ts';
import type { LogPosition } from './log-position.ts';
import { isStored, ObjectEntry, SEGMENT_HOLE, SEGMENT_ZERO } from './object-entry.ts';

export const VERSION_PAGE_BYTES = VERSIONS_PER_PAGE * VERSION_BYTES;
const EMPTY_VERSION_PAGE = Buffer.alloc(VERSION_PAGE_BYTES);

/** Blocks of an object that follow one another on disk, or are all zeros. */
interface Run {
  startBlock: number;
  blockCount: number;
  segmentId: number;
  position: number;
}

/** Calls `visit` with each run of blocks that are not holes, the same object every time. */
function visitRuns(entry: ObjectEntry, visit: (run: Readonly<Run>) => void): void {
  const { tableBlocks } = entry;
  const run: Run = { startBlock: 0, blockCount: 0, segmentId: SEGMENT_HOLE, position: 0 };
  for (let block = 0; block < tableBlocks; ) {
    const segmentId = entry.segmentAt(block);
    const position = isStored(segmentId) ? entry.positionAt(block) : 0;
    const blockCount = entry.uniformBlocks(block);
    const goesOn =
      segmentId === run.segmentId &&
      (!isStored(segmentId) || run.position + run.blockCount === position);
    if (goesOn) {
      run.blockCount += blockCount;
    } else {
      if (run.segmentId !== SEGMENT_HOLE) visit(run);
      run.startBlock = block;
      run.blockCount = blockCount;
      run.segmentId = segmentId;
      run.position = position;
    }
    block += blockCount;
  }
  if (run.segmentId !== SEGMENT_HOLE) visit(run);
}

/** Where an encoded value goes: so many bytes that nobody else uses. */
export type TakeBytes = (byteCount: number) => Buffer;

export function encodeObject(entry: ObjectEntry, take: TakeBytes): Buffer {
  let runCount = 0;
  let dataBlocks = 0;
  visitRuns(entry, (run) => {
    runCount += 1;
    if (isStored(run.segmentId)) dataBlocks += run.blockCount;
  });
  let crcAt = OBJECT_VALUE_BYTES + runCount * RUN_BYTES;
  const bytes = take(crcAt + dataBlocks * CRC_BYTES);
  writeUint53(bytes, entry.lsn, OBJECT_VALUE.lsn);
  writeUint53(bytes, entry.seq, OBJECT_VALUE.seq);
  bytes.writeUInt32LE(entry.epoch, OBJECT_VALUE.epoch);
  bytes.writeUInt32LE(entry.tableBlocks, OBJECT_VALUE.blockCount);
  bytes.writeUInt32LE(runCount, OBJECT_VALUE.runCount);
  let at = OBJECT_VALUE_BYTES;
  visitRuns(entry, (run) => {
    bytes.writeUInt16LE(run.startBlock, at + RUN.startBlock);
    bytes.writeUInt16LE(run.blockCount, at + RUN.blockCount);
    bytes.writeUInt32LE(run.segmentId, at + RUN.segmentId);
    bytes.writeUInt32LE(run.position, at + RUN.position);
    at += RUN_BYTES;
    if (!isStored(run.segmentId)) return;
    for (let i = 0; i < run.blockCount; i += 1) {
      crcAt = bytes.writeUInt32LE(entry.crcAt(run.startBlock + i), crcAt);
    }
  });
  return bytes;
}

function checkObject(isValid: boolean, layerId: number, objectIndex: number): void {
  if (isValid) return;
  throw new DroverError(
    'corrupt',
    `the index holds a damaged value for object ${objectIndex} of layer ${layerId}`,
  );
}

function decodeRun(bytes: Buffer, at: number): Run {
  return {
    startBlock: bytes.readUInt16LE(at + RUN.startBlock),
    blockCount: bytes.readUInt16LE(at + RUN.blockCount),
    segmentId: bytes.readUInt32LE(at + RUN.segmentId),
    position: bytes.readUInt32LE(at + RUN.position),
  };
}

export function decodeObject(
  bytes: Buffer,
  layerId: number,
  objectIndex: number,
  key: number,
): ObjectEntry {
  checkObject(bytes.length >= OBJECT_VALUE_BYTES, layerId, objectIndex);
  const tableBlocks = bytes.readUInt32LE(OBJECT_VALUE.blockCount);
  const runCount = bytes.readUInt32LE(OBJECT_VALUE.runCount);
  let crcAt = OBJECT_VALUE_BYTES + runCount * RUN_BYTES;
  checkObject(
    tableBlocks <= OBJECT_BLOCKS_MAX && runCount <= tableBlocks && crcAt <= bytes.length,
    layerId,
    objectIndex,
  );
  const entry = new ObjectEntry(layerId, objectIndex, key);
  entry.lsn = readUint53(bytes, OBJECT_VALUE.lsn);
  entry.seq = readUint53(bytes, OBJECT_VALUE.seq);
  entry.epoch = bytes.readUInt32LE(OBJECT_VALUE.epoch);
  for (let run = 0; run < runCount; run += 1) {
    const { startBlock, blockCount, segmentId, position } = decodeRun(
      bytes,
      OBJECT_VALUE_BYTES + run * RUN_BYTES,
    );
    const isData = isStored(segmentId);
    checkObject(
      startBlock + blockCount <= tableBlocks &&
        (!isData || crcAt + blockCount * CRC_BYTES <= bytes.length),
      layerId,
      objectIndex,
    );
    const endBlock = startBlock + blockCount;
    if (!isData) {
      entry.mark(startBlock, endBlock, segmentId === SEGMENT_ZERO ? SEGMENT_ZERO : SEGMENT_HOLE);
      continue;
    }
    entry.reach(startBlock, endBlock);
    for (let i = 0; i < blockCount; i += 1) {
      entry.put(startBlock + i, segmentId, position + i, bytes.readUInt32LE(crcAt));
      crcAt += CRC_BYTES;
    }
  }
  return entry;
}

/** Calls `visit` with the segment and length of each data run of an encoded object. */
export function visitStoredRuns(
  bytes: Buffer,
  visit: (segmentId: number, blockCount: number) => void,
): void {
  const runCount = bytes.readUInt32LE(OBJECT_VALUE.runCount);
  for (let run = 0; run < runCount; run += 1) {
    const at = OBJECT_VALUE_BYTES + run * RUN_BYTES;
    const segmentId = bytes.readUInt32LE(at + RUN.segmentId);
    if (isStored(segmentId)) visit(segmentId, bytes.readUInt16LE(at + RUN.blockCount));
  }
}

/** A page of versions to read: the stored one, or an empty one. */
export function versionPageBytes(stored: Buffer | undefined): Buffer {
  if (stored === undefined) return EMPTY_VERSION_PAGE;
  if (stored.length !== VERSION_PAGE_BYTES) {
    throw new DroverError('corrupt', 'the index holds a damaged page of versions');
  }
  return stored;
}

/** Fills `page` with a copy of a page of versions to change, or an empty one. */
export function copyVersionPage(stored: Buffer | undefined, page: Buffer): void {
  versionPageBytes(stored).copy(page);
}

export function putVersion(page: Buffer, objectIndex: number, epoch: number, seq: number): void {
  const at = (objectIndex % VERSIONS_PER_PAGE) * VERSION_BYTES;
  page.writeUInt32LE(epoch, at + VERSION_ENTRY.epoch);
  writeUint53(page, seq, at + VERSION_ENTRY.seq);
}

export function encodeCount(count: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  writeUint53(bytes, count, 0);
  return bytes;
}

export function decodeCount(bytes: Buffer): number {
  if (bytes.length !== 8) throw new DroverError('corrupt', 'the index holds a damaged count');
  return readUint53(bytes, 0);
}

export interface Checkpoint extends LogPosition {
  /** No segment has this id or a higher one, unless it was made after the checkpoint. */
  readonly nextSegmentId: number;
}

export function encodeCheckpoint(checkpoint: Checkpoint): Buffer {
  const bytes = Buffer.alloc(CHECKPOINT_VALUE_BYTES);
  bytes.writeUInt32LE(FORMAT_VERSION, CHECKPOINT_VALUE.formatVersion);
  bytes.writeUInt32LE(checkpoint.segmentId, CHECKPOINT_VALUE.segmentId);
  bytes.writeUInt32LE(checkpoint.position, CHECKPOINT_VALUE.position);
  bytes.writeUInt32LE(checkpoint.nextSegmentId, CHECKPOINT_VALUE.nextSegmentId);
  writeUint53(bytes, checkpoint.batchSeq, CHECKPOINT_VALUE.batchSeq);
  return bytes;
}

export function decodeCheckpoint(bytes: Buffer): Checkpoint {
  const formatVersion =
    bytes.length === CHECKPOINT_VALUE_BYTES
      ? bytes.readUInt32LE(CHECKPOINT_VALUE.formatVersion)
      : undefined;
  if (formatVersion !== FORMAT_VERSION) {
    throw new DroverError('corrupt', 'the index holds a damaged checkpoint');
  }
  return {
    segmentId: bytes.readUInt32LE(CHECKPOINT_VALUE.segmentId),
    position: bytes.readUInt32LE(CHECKPOINT_VALUE.position),
    nextSegmentId: bytes.readUInt32LE(CHECKPOINT_VALUE.nextSegmentId),
    batchSeq: readUint53(bytes, CHECKPOINT_VALUE.batchSeq),
  };
}
