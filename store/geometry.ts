/**
 * Sizes of blocks and objects, and every conversion between bytes, blocks and objects.
 *
 * A byte offset, a block index and an object index are different numbers; they are turned into one
 * another here and nowhere else. All are non-negative safe integers.
 */

/** The unit of caching, of checksums and of everything sent to a store node. */
export const BLOCK_BYTES = 4096;

export const OBJECT_BYTES_DEFAULT = 4 * 1024 * 1024;
export const OBJECT_BYTES_MIN = 64 * 1024;
/** 4096 blocks: a block's index within its object fits 16 bits with room to spare. */
export const OBJECT_BYTES_MAX = 16 * 1024 * 1024;

/** 64 TiB and more: what 32 bits of object index reach with the smallest objects. */
export const VOLUME_BYTES_MAX = 2 ** 48;

export function isObjectBytes(bytes: number): boolean {
  return (
    bytes >= OBJECT_BYTES_MIN && bytes <= OBJECT_BYTES_MAX && Number.isInteger(Math.log2(bytes))
  );
}

export function blocksOf(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES);
}

export function objectsOf(volumeBytes: number, objectBytes: number): number {
  return Math.ceil(volumeBytes / objectBytes);
}
