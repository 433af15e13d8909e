/**
 * READs answered from resident blocks, in the same turn in which they arrived.
 *
 * Owns: choosing the form of such a reply, and copying from the cache into the output. Does not
 * own: blocks that are not resident: it says so and has put nothing.
 */
import assert from 'node:assert/strict';
import type { BlockDevice } from '../volume/block-device.ts';
import { OUTPUT_BYTES } from './buffer-pool.ts';
import type { Output } from './output.ts';
import {
  DATA_CHUNK_HEAD_BYTES,
  putDataChunkHead,
  putHoleChunk,
  putSuccess,
  writeDataChunkHead,
  writeSimpleReply,
} from './replies.ts';
import { REPLY_FLAG_DONE, SIMPLE_REPLY_BYTES } from './wire.ts';

/** Up to here a READ's data is copied with its head in one piece. */
const ONE_PIECE_BYTES_MAX = OUTPUT_BYTES - DATA_CHUNK_HEAD_BYTES;

export class ResidentReader {
  readonly #device: BlockDevice;
  readonly #output: Output;
  readonly #structured: boolean;

  constructor(device: BlockDevice, output: Output, structuredReplies: boolean) {
    this.#device = device;
    this.#output = output;
    this.#structured = structuredReplies;
  }

  /** Hot path. Answers a READ from resident blocks; false if one is missing, nothing put then. */
  read(cookieHigh: number, cookieLow: number, offset: number, lengthBytes: number): boolean {
    const output = this.#output;
    const run = this.#structured ? this.#device.tryRunBytes(offset, lengthBytes) : lengthBytes;
    if (run === 0) return false;
    if (run === -lengthBytes) {
      putHoleChunk(output, REPLY_FLAG_DONE, cookieHigh, cookieLow, offset, lengthBytes);
      return true;
    }
    if (run !== lengthBytes || lengthBytes > ONE_PIECE_BYTES_MAX) {
      return this.#readInPieces(cookieHigh, cookieLow, offset, lengthBytes);
    }
    const headBytes = this.#structured ? DATA_CHUNK_HEAD_BYTES : SIMPLE_REPLY_BYTES;
    output.reserve(headBytes + lengthBytes);
    const { bytes, used } = output;
    if (!this.#device.tryRead(offset, lengthBytes, bytes, used + headBytes)) return false;
    if (this.#structured) {
      const flags = REPLY_FLAG_DONE;
      writeDataChunkHead(bytes, used, flags, cookieHigh, cookieLow, offset, lengthBytes);
    } else {
      writeSimpleReply(bytes, used, cookieHigh, cookieLow, 0);
    }
    output.used = used + headBytes + lengthBytes;
    return true;
  }

  /** Hot path. As `read`, for data and zeros mixed, and for what exceeds one buffer. */
  #readInPieces(
    cookieHigh: number,
    cookieLow: number,
    offset: number,
    lengthBytes: number,
  ): boolean {
    const device = this.#device;
    const endOffset = offset + lengthBytes;
    // Nothing can leave the cache before this turn ends, so what is all there now stays there.
    for (let at = offset; at < endOffset; ) {
      const run = device.tryRunBytes(at, endOffset - at);
      if (run === 0) return false;
      at += run > 0 ? run : -run;
    }
    if (!this.#structured) {
      putSuccess(this.#output, cookieHigh, cookieLow);
      this.#copyData(offset, lengthBytes);
      return true;
    }
    for (let at = offset; at < endOffset; ) {
      const run = device.tryRunBytes(at, endOffset - at);
      const runBytes = run > 0 ? run : -run;
      const flags = at + runBytes === endOffset ? REPLY_FLAG_DONE : 0;
      if (run < 0) {
        putHoleChunk(this.#output, flags, cookieHigh, cookieLow, at, runBytes);
      } else {
        putDataChunkHead(this.#output, flags, cookieHigh, cookieLow, at, runBytes);
        this.#copyData(at, runBytes);
      }
      at += runBytes;
    }
    return true;
  }

  /** Hot path. Copies resident bytes to the output, over as many of its buffers as they take. */
  #copyData(offset: number, lengthBytes: number): void {
    const output = this.#output;
    let at = offset;
    let leftBytes = lengthBytes;
    while (leftBytes > 0) {
      output.reserve(1);
      const roomBytes = output.bytes.length - output.used;
      const pieceBytes = Math.min(leftBytes, roomBytes);
      const isThere = this.#device.tryRead(at, pieceBytes, output.bytes, output.used);
      assert(isThere, 'a resident block was gone within one turn');
      output.used += pieceBytes;
      at += pieceBytes;
      leftBytes -= pieceBytes;
    }
  }
}
