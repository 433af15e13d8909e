/**
 * The frame that everything between peers travels in. All numbers are little-endian.
 *
 * Owns: the layout of a frame's header, types of messages, flags, and writing and reading a header
 * at the layout's offsets. Does not own: what follows the header (`hot-messages.ts` and
 * `cold-messages.ts`), nor collecting a frame from chunks (`frame-decoder.ts`).
 * Described in docs/formats.md, "The peer protocol".
 */
import assert from 'node:assert';
import { endianness } from 'node:os';
import { crc32 } from '@node-rs/crc32';
import { type Structure, struct, u8, u16, u32 } from 'buffer-layout';

// Long lists travel as arrays of numbers and are used where they were received.
assert.equal(endianness(), 'LE', 'Drover needs a little-endian machine');

/** Versions of the protocol that this program speaks. */
export const PROTOCOL_VERSION_MIN = 1;
export const PROTOCOL_VERSION_MAX = 1;

/** "DRVP" as its bytes stand on the wire. */
export const FRAME_MAGIC = 0x50565244;

export const MessageType = {
  hello: 1,
  ping: 2,
  write: 3,
  read: 4,
  map: 5,
  listVersions: 6,
  adoptEpoch: 7,
  removeLayer: 8,
  copyObject: 9,
  install: 10,
  removeObject: 11,
  repair: 12,
  describeObject: 13,
  space: 14,
  listLayers: 15,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** The frame is an answer; its type and request id are those of the request. */
export const FLAG_ANSWER = 1;
export const FLAGS_KNOWN = FLAG_ANSWER;

export interface FrameHead {
  type: number;
  flags: number;
  /** In an answer 0, or what went wrong (`error-codes.ts`); in a request 0. */
  status: number;
  requestId: number;
  metaBytes: number;
  payloadBytes: number;
}

interface FrameFields extends FrameHead {
  magic: number;
  /** CRC-32 of the header behind this field and of the meta. */
  checksum: number;
}

export const frameLayout: Structure<FrameFields> = struct<FrameFields>([
  u32('magic'),
  u32('checksum'),
  u8('type'),
  u8('flags'),
  u16('status'),
  u32('requestId'),
  u32('metaBytes'),
  u32('payloadBytes'),
]);

export const HEADER_BYTES = 24;
assert.equal(frameLayout.span, HEADER_BYTES);

/** The offset of a field that the layout surely has. */
export function offsetIn<T>(layout: Structure<T>, field: keyof T & string): number {
  const offset = layout.offsetOf(field);
  assert(offset !== undefined && offset >= 0, `no field ${field}`);
  return offset;
}

const MAGIC = offsetIn(frameLayout, 'magic');
const CHECKSUM = offsetIn(frameLayout, 'checksum');
const TYPE = offsetIn(frameLayout, 'type');
const FLAGS = offsetIn(frameLayout, 'flags');
const STATUS = offsetIn(frameLayout, 'status');
const REQUEST_ID = offsetIn(frameLayout, 'requestId');
const META_BYTES = offsetIn(frameLayout, 'metaBytes');
const PAYLOAD_BYTES = offsetIn(frameLayout, 'payloadBytes');
const CHECKED_FROM = CHECKSUM + 4;

/** Hot path. Writes the header of a frame whose meta stands behind it already. */
export function writeHead(
  bytes: Buffer,
  at: number,
  type: number,
  flags: number,
  status: number,
  requestId: number,
  metaBytes: number,
  payloadBytes: number,
): void {
  bytes.writeUInt32LE(FRAME_MAGIC, at + MAGIC);
  bytes[at + TYPE] = type;
  bytes[at + FLAGS] = flags;
  bytes.writeUInt16LE(status, at + STATUS);
  bytes.writeUInt32LE(requestId, at + REQUEST_ID);
  bytes.writeUInt32LE(metaBytes, at + META_BYTES);
  bytes.writeUInt32LE(payloadBytes, at + PAYLOAD_BYTES);
  const checked = bytes.subarray(at + CHECKED_FROM, at + HEADER_BYTES + metaBytes);
  bytes.writeUInt32LE(crc32(checked), at + CHECKSUM);
}

/** Hot path. False if the bytes at `at` are no header; its checksum is not looked at yet. */
export function readHead(bytes: Buffer, at: number, into: FrameHead): boolean {
  if (bytes.readUInt32LE(at + MAGIC) !== FRAME_MAGIC) return false;
  into.type = bytes[at + TYPE]!;
  into.flags = bytes[at + FLAGS]!;
  into.status = bytes.readUInt16LE(at + STATUS);
  into.requestId = bytes.readUInt32LE(at + REQUEST_ID);
  into.metaBytes = bytes.readUInt32LE(at + META_BYTES);
  into.payloadBytes = bytes.readUInt32LE(at + PAYLOAD_BYTES);
  return (into.flags & ~FLAGS_KNOWN) === 0;
}

/** Hot path. True if header and meta are what was sent. */
export function headMatches(bytes: Buffer, at: number, metaBytes: number): boolean {
  const checked = bytes.subarray(at + CHECKED_FROM, at + HEADER_BYTES + metaBytes);
  return crc32(checked) === bytes.readUInt32LE(at + CHECKSUM);
}
