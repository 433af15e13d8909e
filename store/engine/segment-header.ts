/**
 * The first block of a segment, and the names of segment files.
 *
 * Owns: encoding, checking and naming. Does not own: files. A header is written once, before the
 * segment is used; a segment whose file is used again gets a new id and a new nonce, so nothing of
 * its old content can pass for its own.
 */
import { crc32 } from '@node-rs/crc32';
import { BLOCK_BYTES } from '../geometry.ts';
import type { SegmentStamp } from './batch-decoder.ts';
import { FORMAT_VERSION, SEGMENT_HEADER, SEGMENT_MAGIC } from './layouts.ts';

export const NONCE_BYTES = 16;
/** The first block that a batch may be in. */
export const FIRST_POSITION = 1;

export interface SegmentHeader extends SegmentStamp {
  readonly segmentBytes: number;
  /** 128 bits in hexadecimal. */
  readonly nodeId: string;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(BLOCK_BYTES);
  SEGMENT_MAGIC.copy(bytes, SEGMENT_HEADER.magic);
  bytes.writeUInt32LE(FORMAT_VERSION, SEGMENT_HEADER.formatVersion);
  bytes.writeUInt32LE(header.segmentBytes, SEGMENT_HEADER.segmentBytes);
  bytes.writeUInt32LE(header.segmentId, SEGMENT_HEADER.segmentId);
  Buffer.from(header.nodeId, 'hex').copy(bytes, SEGMENT_HEADER.nodeId);
  header.nonce.copy(bytes, SEGMENT_HEADER.nonce);
  bytes.writeUInt32LE(crc32(bytes.subarray(SEGMENT_HEADER.formatVersion)), SEGMENT_HEADER.crc);
  return bytes;
}

/** `undefined` if the block is not a whole header of this format. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (
    bytes.length < BLOCK_BYTES ||
    SEGMENT_MAGIC.compare(bytes, SEGMENT_HEADER.magic, SEGMENT_HEADER.magic + 8) !== 0 ||
    crc32(bytes.subarray(SEGMENT_HEADER.formatVersion, BLOCK_BYTES)) !==
      bytes.readUInt32LE(SEGMENT_HEADER.crc) ||
    bytes.readUInt32LE(SEGMENT_HEADER.formatVersion) !== FORMAT_VERSION
  ) {
    return undefined;
  }
  const { nodeId, nonce } = SEGMENT_HEADER;
  return {
    segmentId: bytes.readUInt32LE(SEGMENT_HEADER.segmentId),
    segmentBytes: bytes.readUInt32LE(SEGMENT_HEADER.segmentBytes),
    nodeId: bytes.subarray(nodeId, nodeId + 16).toString('hex'),
    nonce: Buffer.from(bytes.subarray(nonce, nonce + NONCE_BYTES)),
  };
}

export function segmentName(segmentId: number): string {
  return `${String(segmentId).padStart(8, '0')}.seg`;
}

/** The id in a segment file's name; `undefined` for another file. */
export function segmentIdOf(name: string): number | undefined {
  const digits = /^(\d{8,10})\.seg$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function spareName(number: number): string {
  return `${number}.spare`;
}

export function isSpareName(name: string): boolean {
  return /^\d+\.spare$/.test(name);
}
