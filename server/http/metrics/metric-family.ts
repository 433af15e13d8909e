/**
 * Metric families whose samples are made when they are scraped.
 *
 * The parts of Drover count in plain numbers and `Histogram`s, because counting must cost the data
 * path nothing. Owns the bridge from those to prom-client's registry, which prints them.
 * Does not own any count: a family is a name, a help text and a function that looks.
 */
import type { Metric, Registry } from 'prom-client';
import type { Histogram } from '../../../store/runtime/histogram.ts';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  /** Only where it differs from the family's name: `…_bucket`, `…_sum`, `…_count`. */
  readonly metricName?: string;
  readonly labels: Labels;
  readonly value: number;
}

export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: () => Sample[];
}

/** One value, or one for each set of labels. */
type Look = () => number | Sample[];

function samplesOf(look: Look): () => Sample[] {
  return () => {
    const seen = look();
    return typeof seen === 'number' ? [{ labels: {}, value: seen }] : seen;
  };
}

export function counter(name: string, help: string, look: Look): MetricFamily {
  return { name, help, type: 'counter', samples: samplesOf(look) };
}

export function gauge(name: string, help: string, look: Look): MetricFamily {
  return { name, help, type: 'gauge', samples: samplesOf(look) };
}

/** Samples that differ in one label: `byLabel('state', {clean: 3, dirty: 1})`. */
export function byLabel(label: string, values: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(values).map(([key, value]) => ({ labels: { [label]: key }, value }));
}

function histogramSamples(name: string, labels: Labels, histogram: Histogram): Sample[] {
  const samples: Sample[] = [];
  let countSoFar = 0;
  histogram.counts.forEach((count, bucket) => {
    countSoFar += count;
    const bound = histogram.bounds[bucket];
    const le = bound === undefined ? '+Inf' : String(bound);
    samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: countSoFar });
  });
  samples.push({ metricName: `${name}_sum`, labels, value: histogram.sum });
  samples.push({ metricName: `${name}_count`, labels, value: countSoFar });
  return samples;
}

export function histogram(
  name: string,
  help: string,
  look: () => readonly { readonly labels: Labels; readonly histogram: Histogram }[],
): MetricFamily {
  const samples = () => look().flatMap((one) => histogramSamples(name, one.labels, one.histogram));
  return { name, help, type: 'histogram', samples };
}

/** One histogram without labels. */
export function plainHistogram(name: string, help: string, look: () => Histogram): MetricFamily {
  return histogram(name, help, () => [{ labels: {}, histogram: look() }]);
}

/**
 * Makes the registry print the families. All it asks of a metric when it prints is its name and
 * `get`; the type it declares is that of prom-client's own classes, which hold the counts
 * themselves, hence the cast.
 */
export function registerFamilies(registry: Registry, families: readonly MetricFamily[]): void {
  for (const { name, help, type, samples } of families) {
    const metric = { name, get: () => ({ name, help, type, values: samples() }) };
    registry.registerMetric(metric as unknown as Metric);
  }
}
