/**
 * A clock that stands still until a test moves it, and turns that end when the test says so.
 */
import { setImmediate as realTurn } from 'node:timers/promises';
import type { Clock, TimerHandle } from '../../../store/runtime/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

export class ManualClock implements Clock {
  #nowMs = 1000;
  #turn: (() => void)[] = [];
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = { atMs: this.#nowMs + delayMs, fire };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  endOfTurn(run: () => void): void {
    this.#turn.push(run);
  }

  /** Lets promises settle and ends `turns` turns. */
  async turns(turns = 3): Promise<void> {
    for (let i = 0; i < turns; i += 1) {
      await realTurn();
      const runs = this.#turn;
      this.#turn = [];
      for (const run of runs) run();
    }
    await realTurn();
  }

  /** Moves time, fires what is due in its order, and ends a turn. */
  async advance(ms: number): Promise<void> {
    this.#nowMs += ms;
    const due = [...this.#timers].filter((timer) => timer.atMs <= this.#nowMs);
    due.sort((a, b) => a.atMs - b.atMs);
    for (const timer of due) {
      if (this.#timers.delete(timer)) timer.fire();
    }
    await this.turns();
  }
}
