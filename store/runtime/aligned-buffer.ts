/**
 * Memory that begins at a page of the processor, so that a disk can be written from it directly.
 *
 * Owns: getting such memory, and knowing it again. Does not own: giving it back; the collector does
 * when no buffer of it is left.
 *
 * A write past the page cache (O_DIRECT) needs bytes at an address that the logical block size of
 * the disk divides; open(2), "O_DIRECT". Node's buffers begin 16 bytes behind that. The memory of a
 * WebAssembly instance is mapped by pages of 64 KiB and never moves while it does not grow, which
 * nothing here makes it do; it is used without any WebAssembly in it.
 */
import { strict as assert } from 'node:assert';
import { libc } from './libc.ts';

/** The largest logical block of a disk, and the page of every processor that Node runs on. */
export const ALIGNMENT_BYTES = 4096;
const MAPPED_PAGE_BYTES = 64 * 1024;
/**
 * Smaller buffers share memory: each piece takes 10 GiB of the 128 TiB of addresses that a process
 * has, used or not.
 */
const SHARED_BYTES = 4 * 1024 * 1024;

/** Where each begins in the process; 0 where that cannot be known. */
const alignedMemory = new WeakMap<ArrayBufferLike, number>();
let shared: ArrayBuffer | undefined;
let sharedUsedBytes = 0;

/** Whole pages of 4 KiB, with any content. */
export function alignedBuffer(bytes: number): Buffer {
  assert(bytes > 0 && bytes % ALIGNMENT_BYTES === 0, `${bytes} bytes are not whole pages`);
  if (bytes > SHARED_BYTES / 4) return Buffer.from(mapped(bytes), 0, bytes);
  if (shared === undefined || sharedUsedBytes + bytes > SHARED_BYTES) {
    shared = mapped(SHARED_BYTES);
    sharedUsedBytes = 0;
  }
  const buffer = Buffer.from(shared, sharedUsedBytes, bytes);
  sharedUsedBytes += bytes;
  return buffer;
}

/** Hot path. True for whole pages of an `alignedBuffer`. */
export function isAligned(buffer: Buffer): boolean {
  return (
    ((buffer.byteOffset | buffer.length) & (ALIGNMENT_BYTES - 1)) === 0 &&
    alignedMemory.has(buffer.buffer)
  );
}

/** Hot path. Where the bytes of an aligned buffer lie in the process; 0 where that is not known. */
export function alignedAddress(buffer: Buffer): number {
  const start = alignedMemory.get(buffer.buffer)!;
  return start === 0 ? 0 : start + buffer.byteOffset;
}

function mapped(bytes: number): ArrayBuffer {
  const pages = Math.ceil(bytes / MAPPED_PAGE_BYTES);
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages });
  alignedMemory.set(buffer, libc?.addressOf(buffer) ?? 0);
  return buffer;
}
