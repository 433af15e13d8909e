/**
 * Time as an argument: the interface of every clock, and the real one.
 *
 * Owns: monotonic time, wall time, timers, the end of a turn of the event loop.
 * Does not own: what is done with them. A simulated clock implements the same interface.
 * Invariant: `nowMs` never goes back.
 */

export interface TimerHandle {
  /** Stops the timer; harmless after it fired. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic time in milliseconds, with a fraction; its zero has no meaning. */
  nowMs(): number;
  /** Wall-clock time in milliseconds since 1970; for logs and metrics, never for a decision. */
  wallMs(): number;
  /** Calls `fire` once, `delayMs` from now. The timer alone does not keep the process alive. */
  setTimer(delayMs: number, fire: () => void): TimerHandle;
  /** Calls `run` once, after the I/O callbacks of this turn. */
  endOfTurn(run: () => void): void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  endOfTurn(run) {
    setImmediate(run);
  },
};

/** Resolves `delayMs` from now on `clock`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve);
  });
}

/** As `sleep` in real time, for a program that has nothing else to do: it stays alive meanwhile. */
export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}
