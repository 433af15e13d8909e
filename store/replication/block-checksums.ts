/**
 * Checksums of blocks, made when a write starts and compared when a read ends.
 *
 * Owns: walking buffers of whole blocks in step with extents or kinds.
 */
import { crc32 } from '@node-rs/crc32';
import { BlockKind } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';

/** Hot path. The CRC-32 of each block of the buffers, in order. */
export function blockChecksums(payload: readonly Buffer[]): Uint32Array {
  let blockCount = 0;
  for (const buffer of payload) blockCount += buffer.length / BLOCK_BYTES;
  const checksums = new Uint32Array(blockCount);
  let at = 0;
  for (const buffer of payload) {
    if (buffer.length === BLOCK_BYTES) {
      checksums[at++] = crc32(buffer);
      continue;
    }
    for (let start = 0; start < buffer.length; start += BLOCK_BYTES) {
      checksums[at++] = crc32(buffer.subarray(start, start + BLOCK_BYTES));
    }
  }
  return checksums;
}

/**
 * The data blocks whose bytes do not have their checksum, in order. `buffers` hold a place for
 * every block, data or not.
 */
export function badBlocks(
  buffers: readonly Buffer[],
  kinds: Uint8Array,
  checksums: Uint32Array,
): readonly number[] {
  let bad: number[] | undefined;
  let block = 0;
  for (const buffer of buffers) {
    for (let start = 0; start < buffer.length; start += BLOCK_BYTES, block += 1) {
      if (kinds[block] !== BlockKind.data) continue;
      if (crc32(buffer.subarray(start, start + BLOCK_BYTES)) === checksums[block]) continue;
      bad ??= [];
      bad.push(block);
    }
  }
  return bad ?? NONE;
}

const NONE: readonly number[] = [];
