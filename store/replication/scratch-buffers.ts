/**
 * Private buffers that reads are received in before their bytes are checked and handed on.
 *
 * A read may be answered by a second copy while the first is still on its way; the late answer must
 * find memory that nobody else uses. So a buffer comes back only when its read has settled.
 * Owns: the buffers kept for reuse, in classes of a power of two of blocks, bounded in bytes. Those
 * of the class that was used longest ago make room for others: a few reads of whole objects must not
 * leave every later read without a kept buffer.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import { SCRATCH_KEPT_BYTES_MAX } from './limits.ts';

export class ScratchBuffers {
  /** By class, the one that was used longest ago first. */
  readonly #kept = new Map<number, Buffer[]>();
  #newestClassBytes = 0;
  #keptBytes = 0;

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** A buffer of `blockCount` blocks, content undefined. */
  take(blockCount: number): Buffer {
    const bytes = classBytes(blockCount);
    const buffer = this.#kept.get(bytes)?.pop();
    if (buffer === undefined) return Buffer.allocUnsafeSlow(bytes);
    this.#keptBytes -= bytes;
    return buffer;
  }

  giveBack(buffer: Buffer): void {
    const list = this.#listOf(buffer.length);
    list.push(buffer);
    this.#keptBytes += buffer.length;
    if (this.#keptBytes > SCRATCH_KEPT_BYTES_MAX) this.#dropOldest();
  }

  /** The kept buffers of a class, which is the newest from now on. */
  #listOf(bytes: number): Buffer[] {
    const list = this.#kept.get(bytes) ?? [];
    if (this.#newestClassBytes !== bytes) {
      this.#kept.delete(bytes);
      this.#kept.set(bytes, list);
      this.#newestClassBytes = bytes;
    }
    return list;
  }

  #dropOldest(): void {
    for (const [bytes, list] of this.#kept) {
      while (list.length > 0 && this.#keptBytes > SCRATCH_KEPT_BYTES_MAX) {
        list.pop();
        this.#keptBytes -= bytes;
      }
    }
  }
}

function classBytes(blockCount: number): number {
  return 2 ** Math.ceil(Math.log2(blockCount)) * BLOCK_BYTES;
}
