/**
 * A limit on bytes a second for work whose size is known only when it is done.
 *
 * Owns: the account. `take` waits while it is overdrawn; what was used is booked afterwards, so it
 * is overdrawn by the work under way at most. Saved-up room is bounded by one second's worth.
 */
import { type Clock, sleep } from '../runtime/clock.ts';

export class ByteRate {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  #balanceBytes: number;
  #bookedAtMs: number;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#balanceBytes = bytesPerSecond;
    this.#bookedAtMs = clock.nowMs();
  }

  async take(): Promise<void> {
    this.#earn();
    while (this.#balanceBytes < 0) {
      await sleep(this.#clock, (-this.#balanceBytes / this.#bytesPerSecond) * 1000 + 1);
      this.#earn();
    }
  }

  book(bytes: number): void {
    this.#balanceBytes -= bytes;
  }

  #earn(): void {
    const nowMs = this.#clock.nowMs();
    const earned = ((nowMs - this.#bookedAtMs) / 1000) * this.#bytesPerSecond;
    this.#bookedAtMs = nowMs;
    this.#balanceBytes = Math.min(this.#bytesPerSecond, this.#balanceBytes + earned);
  }
}
