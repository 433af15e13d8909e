/**
 * Which FLUSH covers what, and when it is answered.
 *
 * Owns: the rounds of one volume. A round collects the objects that become dirty while it is open;
 * a FLUSH closes it. Does not own: sending objects.
 * Invariants: an object with dirty blocks belongs to the round in which it became dirty, a flight
 * to that of its object, and each counts once in `pendingObjects`; so a closed round and all
 * before it without a pending object mean that everything written before it was closed is durable.
 *
 * A flight that fails brings its error to every closed round that covers it, and its blocks belong
 * to the open round from then on: the next FLUSH waits for them again.
 */
import type { Clock } from '../../store/runtime/clock.ts';
import type { Histogram } from '../../store/runtime/histogram.ts';

export class FlushRound {
  pendingObjects = 0;
  isClosed = false;
  startedMs = 0;
  /** Where the answer goes; `undefined` before a FLUSH came, and after it was answered. */
  answer: PromiseWithResolvers<void> | undefined = undefined;
}

export class FlushRounds {
  open = new FlushRound();
  readonly #clock: Clock;
  readonly #durationSeconds: Histogram;
  /** Closed, in order; the first has pending objects. */
  readonly #closed: FlushRound[] = [];

  constructor(clock: Clock, durationSeconds: Histogram) {
    this.#clock = clock;
    this.#durationSeconds = durationSeconds;
  }

  /** True if a FLUSH asked for the open round already: one more shares it. */
  get isAsked(): boolean {
    return this.open.answer !== undefined;
  }

  /** Resolves when everything written until `close` is durable; `close` must follow. */
  ask(): Promise<void> {
    const round = this.open;
    if (round.answer === undefined) {
      round.answer = Promise.withResolvers<void>();
      round.startedMs = this.#clock.nowMs();
    }
    return round.answer.promise;
  }

  /** Closes the open round; what is written from now on belongs to the next. */
  close(): void {
    this.open.isClosed = true;
    this.#closed.push(this.open);
    this.open = new FlushRound();
    this.advance();
  }

  /** Answers what has become durable; call after `pendingObjects` went down. */
  advance(): void {
    while (this.#closed.length > 0 && this.#closed[0]!.pendingObjects === 0) {
      const round = this.#closed.shift()!;
      const answer = this.#take(round);
      answer?.resolve();
    }
  }

  /** Answers every closed round that covers `round` with the error of its flight. */
  fail(round: FlushRound, error: unknown): void {
    const from = this.#closed.indexOf(round);
    if (from < 0) return;
    for (let i = from; i < this.#closed.length; i += 1) {
      this.#take(this.#closed[i]!)?.reject(error);
    }
  }

  /** Answers everybody, the open round too, with an error: the volume is thrown away. */
  abandon(error: unknown): void {
    for (const round of [...this.#closed, this.open]) this.#take(round)?.reject(error);
  }

  #take(round: FlushRound): PromiseWithResolvers<void> | undefined {
    const answer = round.answer;
    if (answer === undefined) return undefined;
    round.answer = undefined;
    this.#durationSeconds.observe((this.#clock.nowMs() - round.startedMs) / 1000);
    return answer;
  }
}

/** A flush of some objects: counts down the flights it waits for. */
export class RangeFlush {
  readonly #answer = Promise.withResolvers<void>();
  /** One for the caller, until it has named all objects. */
  #remaining = 1;
  #isFailed = false;
  #error: unknown;

  get promise(): Promise<void> {
    return this.#answer.promise;
  }

  add(): void {
    this.#remaining += 1;
  }

  done(): void {
    this.#remaining -= 1;
    if (this.#remaining > 0) return;
    if (this.#isFailed) this.#answer.reject(this.#error);
    else this.#answer.resolve();
  }

  failed(error: unknown): void {
    this.#isFailed = true;
    this.#error = error;
    this.done();
  }
}
