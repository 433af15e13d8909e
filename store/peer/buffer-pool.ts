/**
 * Buffers for payload, used again and again.
 *
 * Owns: spare buffers by size, bounded in bytes. Does not own: a buffer that was taken; whoever
 * took it gives it back when nobody can look at it any more, or leaves it to the collector.
 */
import { POOLED_BUFFER_BYTES_MAX } from './limits.ts';

export class BufferPool {
  readonly #spareBytesMax: number;
  readonly #spare = new Map<number, Buffer[]>();
  #spareBytes = 0;

  constructor(spareBytesMax: number) {
    this.#spareBytesMax = spareBytesMax;
  }

  /** Hot path. A buffer of exactly `bytes`, with any content. */
  take(bytes: number): Buffer {
    const spare = this.#spare.get(bytes)?.pop();
    if (spare === undefined) return Buffer.allocUnsafeSlow(bytes);
    this.#spareBytes -= bytes;
    return spare;
  }

  /**
   * Hot path. Only powers of two up to `POOLED_BUFFER_BYTES_MAX` are kept: other sizes are rare
   * and would pile up.
   */
  give(buffer: Buffer): void {
    const bytes = buffer.length;
    if ((bytes & (bytes - 1)) !== 0 || bytes > POOLED_BUFFER_BYTES_MAX) return;
    if (this.#spareBytes + bytes > this.#spareBytesMax) return;
    this.#spareBytes += bytes;
    const spare = this.#spare.get(bytes);
    if (spare === undefined) this.#spare.set(bytes, [buffer]);
    else spare.push(buffer);
  }
}
