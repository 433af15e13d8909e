/**
 * Private buffers that reads are received in before their bytes are checked and handed on.
 *
 * A read may be answered by a second copy while the first is still on its way; the late answer must
 * find memory that nobody else uses. So a buffer comes back only when its read has settled.
 * Owns: the buffers kept for reuse, in classes of a power of two of blocks, bounded in bytes.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import { SCRATCH_KEPT_BYTES_MAX } from './limits.ts';

export class ScratchBuffers {
  readonly #kept = new Map<number, Buffer[]>();
  #keptBytes = 0;

  /** A buffer of `blockCount` blocks, content undefined. */
  take(blockCount: number): Buffer {
    const bytes = classBytes(blockCount);
    const buffer = this.#kept.get(bytes)?.pop();
    if (buffer === undefined) return Buffer.allocUnsafeSlow(bytes);
    this.#keptBytes -= bytes;
    return buffer;
  }

  giveBack(buffer: Buffer): void {
    if (this.#keptBytes + buffer.length > SCRATCH_KEPT_BYTES_MAX) return;
    this.#keptBytes += buffer.length;
    const list = this.#kept.get(buffer.length);
    if (list === undefined) this.#kept.set(buffer.length, [buffer]);
    else list.push(buffer);
  }
}

function classBytes(blockCount: number): number {
  return 2 ** Math.ceil(Math.log2(blockCount)) * BLOCK_BYTES;
}
