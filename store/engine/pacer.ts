/**
 * Pauses of the work in the background, which end at once when the engine closes.
 *
 * Owns: the pauses. A timer alone does not keep a process alive, so closing must not wait for one.
 */
import type { Clock, TimerHandle } from '../runtime/clock.ts';

export class Pacer {
  readonly #clock: Clock;
  readonly #pauses = new Map<TimerHandle, () => void>();
  #isStopped = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True once the work in the background shall end. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Waits as long as `byteCount` bytes should take. */
  async pause(byteCount: number, bytesPerSecond: number): Promise<void> {
    if (this.#isStopped) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimer((byteCount / bytesPerSecond) * 1000, () => {
        this.#pauses.delete(timer);
        resolve();
      });
      this.#pauses.set(timer, resolve);
    });
  }

  stop(): void {
    this.#isStopped = true;
    for (const [timer, resolve] of this.#pauses) {
      timer.cancel();
      resolve();
    }
    this.#pauses.clear();
  }
}
