/**
 * Memory for the values of one transaction of the index, used again by the next.
 *
 * A checkpoint under load encodes tens of megabytes; as buffers of their own they stayed as garbage
 * until V8 looked. Invariant: what `take` gave belongs to its user until `reset`.
 */
export class IndexArena {
  readonly #bytes: Buffer;
  #used = 0;

  constructor(byteCount: number) {
    this.#bytes = Buffer.allocUnsafeSlow(byteCount);
  }

  /** Bytes that nobody else uses; of a buffer of their own where the arena is used up. */
  readonly take = (byteCount: number): Buffer => {
    if (this.#used + byteCount > this.#bytes.length) return Buffer.allocUnsafe(byteCount);
    const start = this.#used;
    this.#used += byteCount;
    return this.#bytes.subarray(start, this.#used);
  };

  reset(): void {
    this.#used = 0;
  }
}
