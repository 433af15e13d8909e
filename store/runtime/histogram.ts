/**
 * Latency histograms that cost the path they measure no allocation.
 *
 * Owns: bucket counts and sum. Does not own: how a scrape prints them.
 * Invariant: `counts` holds one count for each bound and one for what is above the last.
 */

/**
 * Upper bounds in seconds, Prometheus style: 1, 2 and 5 in each decade from 10 µs to 10 s. A
 * resident block is answered within the first few, a disk that syncs in the middle.
 */
export const LATENCY_BOUNDS_SECONDS: readonly number[] = [
  0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
  0.2, 0.5, 1, 2, 5, 10,
];

/** Upper bounds for counts of things done at once: powers of two from 1 to 1024. */
export const COUNT_BOUNDS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** Hot path. Counts one observation, in the unit of the bounds. */
  observe(value: number): void {
    const bounds = this.bounds;
    let bucket = 0;
    while (bucket < bounds.length && value > bounds[bucket]!) bucket += 1;
    this.counts[bucket]! += 1;
    this.sum += value;
  }
}
