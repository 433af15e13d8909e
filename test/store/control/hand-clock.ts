/**
 * Time that moves when a test says so.
 */
import type { Clock } from '../../../store/runtime/clock.ts';

/** A clock whose time moves when the test says so. */
export class HandClock implements Clock {
  #nowMs = 0;
  #timers = new Set<{ atMs: number; fire: () => void }>();
  nowMs = (): number => this.#nowMs;
  wallMs = (): number => this.#nowMs;
  endOfTurn = (run: () => void): void => void setImmediate(run);
  setTimer(delayMs: number, fire: () => void): { cancel: () => void } {
    const timer = { atMs: this.#nowMs + delayMs, fire };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
  async advance(ms: number): Promise<void> {
    this.#nowMs += ms;
    for (const timer of [...this.#timers]) {
      if (timer.atMs > this.#nowMs) continue;
      this.#timers.delete(timer);
      timer.fire();
    }
    await settled();
  }
}

export const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
