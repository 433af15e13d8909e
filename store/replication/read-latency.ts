/**
 * How fast one copy answers reads: what the choice of a copy and the hedge are based on.
 *
 * Owns: a moving average, its deviation and the reads under way. A copy that is slow now is seen
 * at once by its reads under way, before any of them is answered.
 */
import { Histogram, LATENCY_BOUNDS_SECONDS } from '../runtime/histogram.ts';
import { HEDGE_MIN_MS } from './limits.ts';

/** Weights of a new observation, as TCP weighs round trips. */
const MEAN_WEIGHT = 1 / 8;
const DEVIATION_WEIGHT = 1 / 4;

export class ReadLatency {
  readonly histogram = new Histogram(LATENCY_BOUNDS_SECONDS);
  readsUnderWay = 0;
  meanMs = 0;
  #deviationMs = 0;

  /** The expected wait for one more read; the lowest is asked. */
  get score(): number {
    return (this.meanMs + 0.01) * (1 + this.readsUnderWay);
  }

  /** A read that takes longer than this is asked for elsewhere too. */
  get hedgeAfterMs(): number {
    return Math.max(HEDGE_MIN_MS, 3 * (this.meanMs + 4 * this.#deviationMs));
  }

  observe(elapsedMs: number): void {
    this.histogram.observe(elapsedMs / 1000);
    this.#move(elapsedMs);
  }

  /** A read is not answered after `elapsedMs`; its real latency is at least that. */
  observeLate(elapsedMs: number): void {
    this.#move(elapsedMs);
  }

  #move(elapsedMs: number): void {
    const difference = elapsedMs - this.meanMs;
    this.meanMs += MEAN_WEIGHT * difference;
    this.#deviationMs += DEVIATION_WEIGHT * (Math.abs(difference) - this.#deviationMs);
  }
}
