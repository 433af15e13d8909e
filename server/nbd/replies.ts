/**
 * Replies of the transmission phase, written into a connection's output.
 *
 * Owns: the bytes of simple replies and structured chunks. Does not own: which answer is right.
 * Invariants: a READ after NBD_OPT_STRUCTURED_REPLY is answered in chunks, errors too; success of
 * anything else is a simple reply, the shorter of the two that are allowed.
 * A cookie is two opaque 32-bit halves: as numbers they cost the data path nothing.
 */
import type { AllocationRun, ByteRun } from '../volume/block-device.ts';
import { writeU16, writeU32, writeU64 } from './big-endian.ts';
import { ERROR_TEXT_CHARS_MAX } from './limits.ts';
import type { Output } from './output.ts';
import {
  blockStatusLayout,
  CHUNK_BYTES,
  CHUNK_COOKIE_AT,
  CHUNK_FLAGS_AT,
  CHUNK_LENGTH_AT,
  CHUNK_TYPE_AT,
  CONTEXT_ID_BASE_ALLOCATION,
  descriptorLayout,
  errorLayout,
  OFFSET_DATA_BYTES,
  OFFSET_HOLE_BYTES,
  OFFSET_HOLE_SIZE_AT,
  REPLY_FLAG_DONE,
  REPLY_TYPE_BLOCK_STATUS,
  REPLY_TYPE_ERROR,
  REPLY_TYPE_NONE,
  REPLY_TYPE_OFFSET_DATA,
  REPLY_TYPE_OFFSET_HOLE,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_COOKIE_AT,
  SIMPLE_REPLY_ERROR_AT,
  SIMPLE_REPLY_MAGIC,
  STATE_HOLE,
  STATE_ZERO,
  STRUCTURED_REPLY_MAGIC,
} from './wire.ts';

/** What stands before the data of an NBD_REPLY_TYPE_OFFSET_DATA chunk. */
export const DATA_CHUNK_HEAD_BYTES = CHUNK_BYTES + OFFSET_DATA_BYTES;

/** Hot path. Writes a simple reply at `at`; a READ's data may follow. */
export function writeSimpleReply(
  bytes: Buffer,
  at: number,
  cookieHigh: number,
  cookieLow: number,
  error: number,
): void {
  writeU32(bytes, at, SIMPLE_REPLY_MAGIC);
  writeU32(bytes, at + SIMPLE_REPLY_ERROR_AT, error);
  writeU32(bytes, at + SIMPLE_REPLY_COOKIE_AT, cookieHigh);
  writeU32(bytes, at + SIMPLE_REPLY_COOKIE_AT + 4, cookieLow);
}

/** Hot path. Writes a chunk's header at `at`; `payloadBytes` bytes must follow. */
function writeChunkHeader(
  bytes: Buffer,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  payloadBytes: number,
): void {
  writeU32(bytes, at, STRUCTURED_REPLY_MAGIC);
  writeU16(bytes, at + CHUNK_FLAGS_AT, flags);
  writeU16(bytes, at + CHUNK_TYPE_AT, type);
  writeU32(bytes, at + CHUNK_COOKIE_AT, cookieHigh);
  writeU32(bytes, at + CHUNK_COOKIE_AT + 4, cookieLow);
  writeU32(bytes, at + CHUNK_LENGTH_AT, payloadBytes);
}

/** Hot path. Writes what stands before the data of a content chunk. */
export function writeDataChunkHead(
  bytes: Buffer,
  at: number,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  dataBytes: number,
): void {
  const payloadBytes = OFFSET_DATA_BYTES + dataBytes;
  writeChunkHeader(bytes, at, flags, REPLY_TYPE_OFFSET_DATA, cookieHigh, cookieLow, payloadBytes);
  writeU64(bytes, at + CHUNK_BYTES, offset);
}

/** Hot path. */
export function putSuccess(output: Output, cookieHigh: number, cookieLow: number): void {
  output.reserve(SIMPLE_REPLY_BYTES);
  writeSimpleReply(output.bytes, output.used, cookieHigh, cookieLow, 0);
  output.used += SIMPLE_REPLY_BYTES;
}

/** Hot path. A content chunk that says: so many zeros. */
export function putHoleChunk(
  output: Output,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  holeBytes: number,
): void {
  output.reserve(CHUNK_BYTES + OFFSET_HOLE_BYTES);
  const { bytes, used } = output;
  const type = REPLY_TYPE_OFFSET_HOLE;
  writeChunkHeader(bytes, used, flags, type, cookieHigh, cookieLow, OFFSET_HOLE_BYTES);
  writeU64(bytes, used + CHUNK_BYTES, offset);
  writeU32(bytes, used + CHUNK_BYTES + OFFSET_HOLE_SIZE_AT, holeBytes);
  output.used += CHUNK_BYTES + OFFSET_HOLE_BYTES;
}

/** Hot path. The head of a content chunk; its data must follow. */
export function putDataChunkHead(
  output: Output,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  dataBytes: number,
): void {
  output.reserve(DATA_CHUNK_HEAD_BYTES);
  const { bytes, used } = output;
  writeDataChunkHead(bytes, used, flags, cookieHigh, cookieLow, offset, dataBytes);
  output.used += DATA_CHUNK_HEAD_BYTES;
}

/** The end of a structured reply without content. */
export function putNoneChunk(output: Output, cookieHigh: number, cookieLow: number): void {
  output.reserve(CHUNK_BYTES);
  const type = REPLY_TYPE_NONE;
  writeChunkHeader(output.bytes, output.used, REPLY_FLAG_DONE, type, cookieHigh, cookieLow, 0);
  output.used += CHUNK_BYTES;
}

/** An error as a simple reply, which has no place for the text. */
export function putSimpleError(
  output: Output,
  cookieHigh: number,
  cookieLow: number,
  error: number,
): void {
  output.reserve(SIMPLE_REPLY_BYTES);
  writeSimpleReply(output.bytes, output.used, cookieHigh, cookieLow, error);
  output.used += SIMPLE_REPLY_BYTES;
}

/** An error as the last chunk of a structured reply. */
export function putErrorChunk(
  output: Output,
  cookieHigh: number,
  cookieLow: number,
  error: number,
  text: string,
): void {
  const message = Buffer.from(text.slice(0, ERROR_TEXT_CHARS_MAX));
  const payloadBytes = errorLayout.span + message.length;
  output.reserve(CHUNK_BYTES + payloadBytes);
  const { bytes, used } = output;
  const type = REPLY_TYPE_ERROR;
  writeChunkHeader(bytes, used, REPLY_FLAG_DONE, type, cookieHigh, cookieLow, payloadBytes);
  errorLayout.encode({ error, messageBytes: message.length }, bytes, used + CHUNK_BYTES);
  message.copy(bytes, used + CHUNK_BYTES + errorLayout.span);
  output.used += CHUNK_BYTES + payloadBytes;
}

/**
 * A READ answered in chunks: `content` from `offset` on, `runs` telling where it is zeros. With
 * `unfragmented` one chunk, with the zeros spelt out unless there is nothing else.
 */
export function putReadChunks(
  output: Output,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  content: Buffer,
  runs: readonly ByteRun[],
  unfragmented: boolean,
): void {
  const whole = { lengthBytes: content.length, isZero: false };
  const chunks = unfragmented && runs.length > 1 ? [whole] : runs;
  let at = 0;
  for (const { lengthBytes, isZero } of chunks) {
    const flags = at + lengthBytes === content.length ? REPLY_FLAG_DONE : 0;
    if (isZero) {
      putHoleChunk(output, flags, cookieHigh, cookieLow, offset + at, lengthBytes);
    } else {
      putDataChunkHead(output, flags, cookieHigh, cookieLow, offset + at, lengthBytes);
      output.append(content.subarray(at, at + lengthBytes));
    }
    at += lengthBytes;
  }
}

/** The reply to BLOCK_STATUS for `base:allocation`. */
export function putBlockStatus(
  output: Output,
  cookieHigh: number,
  cookieLow: number,
  runs: readonly AllocationRun[],
): void {
  const payload = Buffer.allocUnsafe(blockStatusLayout.span + runs.length * descriptorLayout.span);
  blockStatusLayout.encode({ contextId: CONTEXT_ID_BASE_ALLOCATION }, payload);
  let at = blockStatusLayout.span;
  for (const { lengthBytes, isHole, isZero } of runs) {
    const status = (isHole ? STATE_HOLE : 0) | (isZero ? STATE_ZERO : 0);
    at += descriptorLayout.encode({ lengthBytes, status }, payload, at);
  }
  output.reserve(CHUNK_BYTES);
  const { bytes, used } = output;
  const type = REPLY_TYPE_BLOCK_STATUS;
  writeChunkHeader(bytes, used, REPLY_FLAG_DONE, type, cookieHigh, cookieLow, payload.length);
  output.used += CHUNK_BYTES;
  output.append(payload);
}
