/**
 * Simulated time: nothing passes unless the test says so.
 *
 * Owns: one timeline of timers, and clocks on it that can be stopped as a process is (SIGSTOP): the
 * timers of a stopped clock fire when it goes on, and its time has passed all the same.
 */
import { setImmediate as endOfTurn } from 'node:timers/promises';
import type { Clock, TimerHandle } from '../../../../store/runtime/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly clock: SimClock;
  readonly fire: () => void;
}

export class SimTimeline {
  nowMs = 1000;
  #order = 0;
  readonly #timers: Timer[] = [];

  add(atMs: number, clock: SimClock, fire: () => void): TimerHandle {
    this.#order += 1;
    const timer = { atMs, order: this.#order, clock, fire };
    this.#insert(timer);
    return {
      cancel: () => {
        const at = this.#timers.indexOf(timer);
        if (at >= 0) this.#timers.splice(at, 1);
        else clock.forget(timer);
      },
    };
  }

  #insert(timer: Timer): void {
    let at = this.#timers.length;
    while (at > 0 && isLater(this.#timers[at - 1]!, timer)) at -= 1;
    this.#timers.splice(at, 0, timer);
  }

  /** Lets `forMs` pass: everything that is due happens, in order, each in a turn of its own. */
  async pass(forMs: number): Promise<void> {
    const endMs = this.nowMs + forMs;
    await endOfTurn();
    for (let timer = this.#timers[0]; timer !== undefined && timer.atMs <= endMs; ) {
      this.#timers.shift();
      this.nowMs = Math.max(this.nowMs, timer.atMs);
      timer.clock.fire(timer);
      await endOfTurn();
      timer = this.#timers[0];
    }
    this.nowMs = endMs;
  }

  /** Lets time pass until the promise settles; an error naming `what` after `limitMs`. */
  async until<T>(what: string, limitMs: number, promise: Promise<T>): Promise<T> {
    let isSettled = false;
    promise.then(
      () => {
        isSettled = true;
      },
      () => {
        isSettled = true;
      },
    );
    await endOfTurn();
    for (let leftMs = limitMs; !isSettled; leftMs -= 5) {
      if (leftMs <= 0) throw new Error(`${what}: not within ${limitMs} ms`);
      await this.pass(5);
    }
    return promise;
  }

  async untilTrue(what: string, limitMs: number, condition: () => boolean): Promise<void> {
    for (let leftMs = limitMs; !condition(); leftMs -= 20) {
      if (leftMs <= 0) throw new Error(`${what}: not within ${limitMs} ms`);
      await this.pass(20);
    }
  }
}

function isLater(a: Timer, b: Timer): boolean {
  return a.atMs > b.atMs || (a.atMs === b.atMs && a.order > b.order);
}

export class SimClock implements Clock {
  readonly #timeline: SimTimeline;
  #isStopped = false;
  #due: Timer[] = [];

  constructor(timeline: SimTimeline) {
    this.#timeline = timeline;
  }

  nowMs(): number {
    return this.#timeline.nowMs;
  }

  wallMs(): number {
    return this.#timeline.nowMs;
  }

  setTimer(delayMs: number, fire: () => void): TimerHandle {
    return this.#timeline.add(this.#timeline.nowMs + Math.max(0, delayMs), this, fire);
  }

  endOfTurn(run: () => void): void {
    this.setTimer(0, run);
  }

  fire(timer: Timer): void {
    if (this.#isStopped) this.#due.push(timer);
    else timer.fire();
  }

  forget(timer: Timer): void {
    this.#due = this.#due.filter((due) => due !== timer);
  }

  stop(): void {
    this.#isStopped = true;
  }

  goOn(): void {
    this.#isStopped = false;
    for (const timer of this.#due.splice(0)) this.setTimer(0, timer.fire);
  }
}
