/**
 * Where the data blocks of a read lie in the buffers that hold all its blocks.
 *
 * Owns: cutting runs of data blocks out of a list of buffers, and checking blocks against their
 * checksums. Buffers hold whole blocks each.
 */
import { crc32 } from '@node-rs/crc32';
import { BlockKind } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';

/**
 * Hot path. The parts of `buffers` that belong to data blocks, in order; `buffers` itself if all
 * do (`dataBlocks` of them).
 */
export function dataPlaces(
  buffers: readonly Buffer[],
  kinds: Uint8Array,
  dataBlocks: number,
): readonly Buffer[] {
  if (dataBlocks === kinds.length) return buffers;
  const places: Buffer[] = [];
  let block = 0;
  for (let i = 0; i < buffers.length; i += 1) {
    const buffer = buffers[i]!;
    const endBlock = block + buffer.length / BLOCK_BYTES;
    const firstBlock = block;
    while (block < endBlock) {
      if (kinds[block] !== BlockKind.data) {
        block += 1;
        continue;
      }
      const start = block;
      while (block < endBlock && kinds[block] === BlockKind.data) block += 1;
      places.push(
        buffer.subarray((start - firstBlock) * BLOCK_BYTES, (block - firstBlock) * BLOCK_BYTES),
      );
    }
  }
  return places;
}

/**
 * Hot path. Compares data blocks, which follow one another in `payload`, with their checksums;
 * returns which one does not match, counted from 0, or -1 if all do.
 */
export function badBlock(payload: readonly Buffer[], blockCrcs: Uint32Array): number {
  let block = 0;
  for (let i = 0; i < payload.length; i += 1) {
    const buffer = payload[i]!;
    for (let at = 0; at < buffer.length; at += BLOCK_BYTES) {
      const bytes = buffer.length === BLOCK_BYTES ? buffer : buffer.subarray(at, at + BLOCK_BYTES);
      if (crc32(bytes) !== blockCrcs[block]) return block;
      block += 1;
    }
  }
  return -1;
}
