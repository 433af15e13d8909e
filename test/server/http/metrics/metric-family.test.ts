import test from 'ava';
import { Registry } from 'prom-client';
import {
  byLabel,
  counter,
  gauge,
  plainHistogram,
  registerFamilies,
} from '../../../../server/http/metrics/metric-family.ts';
import { Histogram } from '../../../../store/runtime/histogram.ts';

test('a family shows what its function sees at each scrape', async (t) => {
  const registry = new Registry();
  let hits = 1;
  registerFamilies(registry, [counter('hits_total', 'Hits.', () => hits)]);
  t.regex(await registry.metrics(), /^# TYPE hits_total counter\nhits_total 1$/m);
  hits = 7;
  t.regex(await registry.metrics(), /^hits_total 7$/m);
});

test('a gauge by label has a sample for each value', async (t) => {
  const registry = new Registry();
  const look = () => byLabel('state', { clean: 3, dirty: 4 });
  registerFamilies(registry, [gauge('blocks', 'Blocks.', look)]);
  const text = await registry.metrics();
  t.regex(text, /^blocks\{state="clean"\} 3$/m);
  t.regex(text, /^blocks\{state="dirty"\} 4$/m);
});

test('a histogram is cumulative buckets up to +Inf, a sum and a count', async (t) => {
  const registry = new Registry();
  const waits = new Histogram([0.1, 1]);
  for (const seconds of [0.05, 0.1, 0.5, 30]) waits.observe(seconds);
  registerFamilies(registry, [plainHistogram('wait_seconds', 'Waits.', () => waits)]);
  t.is(
    await registry.metrics(),
    [
      '# HELP wait_seconds Waits.',
      '# TYPE wait_seconds histogram',
      'wait_seconds_bucket{le="0.1"} 2',
      'wait_seconds_bucket{le="1"} 3',
      'wait_seconds_bucket{le="+Inf"} 4',
      'wait_seconds_sum 30.65',
      'wait_seconds_count 4',
      '',
    ].join('\n'),
  );
});
