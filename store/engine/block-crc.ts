/**
 * CRC-32 of blocks: comparing payload with the checksums that came with it.
 *
 * Owns nothing but the comparison. Buffers hold whole blocks; a block never spans two buffers.
 */
import { crc32 } from '@node-rs/crc32';
import { BLOCK_BYTES } from '../geometry.ts';

export function crcOfBlock(bytes: Buffer, start: number): number {
  return crc32(bytes.subarray(start, start + BLOCK_BYTES));
}

/** The index of the first block whose CRC differs, or -1. */
export function firstBadBlock(payload: readonly Buffer[], blockCrcs: Uint32Array): number {
  let block = 0;
  for (const buffer of payload) {
    for (let start = 0; start < buffer.length; start += BLOCK_BYTES) {
      if (crcOfBlock(buffer, start) !== blockCrcs[block]) return block;
      block += 1;
    }
  }
  return -1;
}
