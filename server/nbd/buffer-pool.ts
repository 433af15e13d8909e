/**
 * Buffers of one size for bytes on their way in or out, lent to the connections that need one now.
 *
 * Owns: free buffers, and the one that every connection without a rest receives into.
 * Invariant: a buffer is lent to one borrower at a time. An idle connection holds none.
 * The last one given back is lent first: its bytes are the likeliest to be in the processor's cache.
 */

/** Holds any request of the usual clients whole: nbdcopy and qemu ask for 256 KiB and less. */
export const POOL_BUFFER_BYTES = 512 * 1024;
/** Free buffers kept; more go back to the engine. */
const FREE_MAX = 32;

export class BufferPool {
  /**
   * Where bytes from any socket arrive. The event loop asks for the place, reads and calls back
   * without doing anything between (wherever it polls for readiness: Linux, macOS, BSD), so its
   * content is one connection's for the length of that callback.
   */
  readonly shared = Buffer.allocUnsafeSlow(POOL_BUFFER_BYTES);
  readonly #free: Buffer[] = [];

  /** Hot path. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(POOL_BUFFER_BYTES);
  }

  /** Hot path. Buffers of another size than the pool's are left to the engine. */
  give(buffer: Buffer): void {
    if (buffer.length === POOL_BUFFER_BYTES && this.#free.length < FREE_MAX) {
      this.#free.push(buffer);
    }
  }
}
