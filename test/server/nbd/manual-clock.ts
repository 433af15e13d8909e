/**
 * A clock whose timers fire when the test says so; turns and measured times are the real ones.
 */
import { type Clock, systemClock } from '../../../store/runtime/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

export class ManualClock implements Clock {
  #timeMs = 0;
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return systemClock.nowMs();
  }

  wallMs(): number {
    return systemClock.wallMs();
  }

  setTimer(delayMs: number, fire: () => void): { cancel(): void } {
    const timer = { atMs: this.#timeMs + delayMs, fire };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  endOfTurn(run: () => void): void {
    systemClock.endOfTurn(run);
  }

  /** Lets time pass for the timers. */
  advance(byMs: number): void {
    this.#timeMs += byMs;
    for (const timer of [...this.#timers]) {
      if (timer.atMs <= this.#timeMs && this.#timers.delete(timer)) timer.fire();
    }
  }
}
