/**
 * The order in which things happen in a simulated world: random, but the same for the same seed.
 *
 * Owns: what is ready to happen, timers, and simulated time, which jumps to the next timer when
 * nothing else is ready. `SimClock` and the simulated disk and index hand their completions in.
 * A promise that waits while nothing can happen any more is a deadlock, and told as one.
 */
import type { Clock, TimerHandle } from '../../store/runtime/clock.ts';
import type { SeededRandom } from '../support/seeded-random.ts';

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

export class SimScheduler {
  readonly random: SeededRandom;
  #nowMs = 0;
  #ready: (() => void)[] = [];
  #timers: Timer[] = [];

  constructor(random: SeededRandom) {
    this.random = random;
  }

  readonly clock: Clock = {
    nowMs: () => this.#nowMs,
    wallMs: () => 1_700_000_000_000 + this.#nowMs,
    setTimer: (delayMs, fire) => this.#setTimer(delayMs, fire),
    endOfTurn: (run) => this.defer(run),
  };

  /** `run` happens some time later, before or after whatever else is ready. */
  defer(run: () => void): void {
    this.#ready.push(run);
  }

  /** Nothing that was to happen will: the process died. */
  forgetAll(): void {
    this.#ready = [];
    this.#timers = [];
  }

  /** Whatever follows from what happened so far, and nothing else. */
  settle(): Promise<void> {
    return afterMicrotasks();
  }

  /** One thing happens, and whatever follows from it at once. False if nothing can. */
  async step(): Promise<boolean> {
    await afterMicrotasks();
    if (this.#ready.length === 0 && !this.#jumpToTimer()) return false;
    const index = this.random.below(this.#ready.length);
    const run = this.#ready[index]!;
    const last = this.#ready.pop()!;
    if (index < this.#ready.length) this.#ready[index] = last;
    run();
    await afterMicrotasks();
    return true;
  }

  async steps(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) await this.step();
  }

  /** Lets things happen until `promise` settles. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = (): void => {
      isSettled = true;
    };
    promise.then(settle, settle);
    await afterMicrotasks();
    let steps = 0;
    while (!isSettled) {
      if (!(await this.step())) throw new Error('deadlock: nothing can happen any more');
      steps += 1;
      if (steps > 5_000_000) throw new Error('no end after five million steps');
    }
    return promise;
  }

  #setTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), fire };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  #jumpToTimer(): boolean {
    let next: Timer | undefined;
    for (const timer of this.#timers)
      if (next === undefined || timer.atMs < next.atMs) next = timer;
    if (next === undefined) return false;
    this.#timers = this.#timers.filter((timer) => timer !== next);
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    this.#ready.push(next.fire);
    return true;
  }
}

function afterMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
