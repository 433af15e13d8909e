/**
 * Signals that end the process, and the patience they are met with.
 *
 * The first one asks for an orderly stop. The second one is told what is waited for: ending now
 * would lose data that was written but not flushed. Only the third one ends the process at once.
 * Signals that come together count as one: with `npm start`, Ctrl-C reaches the process from the
 * terminal and once more from npm.
 */
import type { Clock } from '../../store/runtime/clock.ts';

/** An echo of a signal comes within milliseconds; a person who presses again takes longer. */
const ECHO_MS_MAX = 300;

export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The part of `process` that is used. */
export interface SignalSource {
  on(signal: (typeof STOP_SIGNALS)[number], listener: (signal: string) => void): unknown;
}

export interface StopSignalsOptions {
  readonly source: SignalSource;
  readonly clock: Clock;
  readonly waitingFor: () => string;
  readonly say: (line: string) => void;
  /** Ends the process at once. */
  readonly exit: () => void;
}

export class StopSignals {
  /** Resolves to the first signal's name. */
  readonly first: Promise<string>;
  #count = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(options: StopSignalsOptions) {
    this.first = new Promise((resolve) => {
      for (const signal of STOP_SIGNALS) {
        options.source.on(signal, (name) => {
          if (this.#isEcho(options.clock)) return;
          this.#count += 1;
          if (this.#count === 1) resolve(name);
          else this.#again(options);
        });
      }
    });
  }

  #isEcho(clock: Clock): boolean {
    const nowMs = clock.nowMs();
    const sinceLastMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    return sinceLastMs <= ECHO_MS_MAX;
  }

  #again({ waitingFor, say, exit }: StopSignalsOptions): void {
    if (this.#count === 2) {
      say(`still stopping, waiting for ${waitingFor()}; a third signal gives up unflushed data`);
    } else {
      say(`gave up waiting for ${waitingFor()}`);
      exit();
    }
  }
}
