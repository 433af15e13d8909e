/**
 * Buffers for bytes on their way in or out, lent to the connections that need one now. Memory that
 * is new to the process costs more to touch for the first time than to copy, so it is used again.
 *
 * Owns: free buffers by size, bounded in bytes, and the one that every connection without a rest
 * receives into. Does not own: a buffer that is lent; who borrowed it gives it back when nobody can
 * look at it any more, or leaves it to the collector.
 * Invariants: a buffer is lent to one borrower at a time. An idle connection holds none.
 * The last one given back is lent first: its bytes are the likeliest to be in the processor's cache.
 */

/**
 * Where a buffer begins in its memory, which begins 16 bytes behind a page. Payload stands behind a
 * head of 16 to 28 bytes and is copied from and to blocks that begin at a page: where the target's
 * place in its page is 1 to 31 bytes behind the source's, processors whose string copies
 * (`rep movsb`) suspect an overlap took twice the time (128 KiB in 16 µs instead of 8, AMD EPYC).
 */
const START_BYTES = 64;
/** Sizes are powers of two from here on, and this much more for the heads of what is in them. */
const SIZE_BYTES_MIN = 4 * 1024;
export const HEADS_BYTES = 1024 - START_BYTES;
/** 4 KiB to 8 MiB. What is larger is rare, of exactly its size, and left to the collector. */
const SIZES = 12;

/** Where bytes from any socket arrive: four requests of 128 KiB, in half of a 1 MiB L2 cache. */
export const RECEIVE_BYTES = 512 * 1024 + HEADS_BYTES;
/** Replies gathered for one write: a READ of 1 MiB, or eight of 128 KiB, with their heads. */
export const OUTPUT_BYTES = 1024 * 1024 + HEADS_BYTES;
/** Free buffers together. */
export const FREE_BYTES_MAX = 32 * 1024 * 1024;

export class BufferPool {
  /**
   * Where bytes from any socket arrive. The event loop asks for the place, reads and calls back
   * without doing anything between (wherever it polls for readiness: Linux, macOS, BSD), so its
   * content is one connection's for the length of that callback.
   */
  readonly shared = newBuffer(RECEIVE_BYTES);
  readonly #free: Buffer[][] = Array.from({ length: SIZES }, () => []);
  #freeBytes = 0;

  /** Hot path. A buffer of at least `bytes`, with any content; less than twice that from 4 KiB on. */
  take(bytes: number): Buffer {
    const size = sizeOf(bytes);
    if (size >= SIZES) return newBuffer(bytes);
    const free = this.#free[size]!.pop();
    if (free === undefined) return newBuffer(bytesOf(size));
    this.#freeBytes -= free.length;
    return free;
  }

  /** Hot path. */
  give(buffer: Buffer): void {
    const size = sizeOf(buffer.length);
    if (size >= SIZES) return;
    this.#free[size]!.push(buffer);
    this.#freeBytes += buffer.length;
    if (this.#freeBytes > FREE_BYTES_MAX) this.#drop(size);
  }

  /** Makes room: of other sizes first, for it is `size` that is in use now. */
  #drop(size: number): void {
    for (let other = SIZES - 1; other >= 0; other -= 1) {
      if (other === size) continue;
      while (this.#freeBytes > FREE_BYTES_MAX && this.#free[other]!.length > 0) {
        this.#freeBytes -= this.#free[other]!.pop()!.length;
      }
    }
    while (this.#freeBytes > FREE_BYTES_MAX) this.#freeBytes -= this.#free[size]!.pop()!.length;
  }
}

/** Hot path. The smallest size that holds `bytes`. */
function sizeOf(bytes: number): number {
  const units = (bytes - HEADS_BYTES - 1) / SIZE_BYTES_MIN;
  return units < 1 ? 0 : 32 - Math.clz32(units);
}

function bytesOf(size: number): number {
  return SIZE_BYTES_MIN * 2 ** size + HEADS_BYTES;
}

function newBuffer(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(START_BYTES + bytes).subarray(START_BYTES);
}
