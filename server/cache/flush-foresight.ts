/**
 * Expects a volume's next FLUSH by those before it.
 *
 * Owns: how many writes come between two FLUSHes, and whether that is sure enough to send what is
 * dirty before the FLUSH comes. Does not own: sending.
 * Why: a client that syncs, such as a database's log, writes the same few times and flushes, over
 * and over. When the last of these writes has come, sending it to the store and the way of its
 * answer and of the FLUSH go on side by side. A FLUSH that is expected wrongly costs the next one
 * up to a write of the store, so the client has to have done the same several times.
 */

export class FlushForesight {
  readonly #timesMin: number;
  #writes = 0;
  #expectedWrites = 0;
  #timesInARow = 0;

  /** Sure after so many FLUSHes in a row with the same number of writes before each. */
  constructor(timesMin: number) {
    this.#timesMin = timesMin;
  }

  /** Hot path. A write was done; true if a FLUSH is expected now. */
  wrote(): boolean {
    this.#writes += 1;
    return this.#writes === this.#expectedWrites && this.#timesInARow >= this.#timesMin;
  }

  /** A FLUSH came. */
  flushed(): void {
    // Several may wait for the same writes.
    if (this.#writes === 0) return;
    if (this.#writes === this.#expectedWrites) {
      this.#timesInARow += 1;
    } else {
      this.#expectedWrites = this.#writes;
      this.#timesInARow = 1;
    }
    this.#writes = 0;
  }
}
