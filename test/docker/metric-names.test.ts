/**
 * What the alerts and the dashboard ask for is what Drover has.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { dashboardPanels, panelExpressions } from './dashboard.ts';
import { ALERTS_FILE, CHECKOUT } from './promtool.ts';

/** Of Prometheus itself and of etcd: documented elsewhere. */
const FOREIGN = new Set(['up', 'etcd_server_has_leader']);
const METRIC = /\b(?:drover|process|nodejs|etcd)_[a-z0-9_]+|\bup\b/g;

/** A metric's family: of `x_bucket`, `x_sum` and `x_count` of a histogram it is `x`. */
function familyOf(metric: string, documented: ReadonlySet<string>): string {
  return documented.has(metric) ? metric : metric.replace(/_(?:bucket|sum|count)$/, '');
}

test('every metric of the dashboard and the alerts is documented', async (t) => {
  const page = await readFile(join(CHECKOUT, 'docs', 'metrics.md'), 'utf8');
  const documented = new Set([...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name!));
  const alerts = await readFile(ALERTS_FILE, 'utf8');
  const rules = alerts.split('\n').filter((line) => !/^ *(?:#|summary:)/.test(line));
  const used = new Set(
    [...(await dashboardPanels()).flatMap(panelExpressions), ...rules].join('\n').match(METRIC),
  );
  t.true(used.size > 40);
  const unknown = [...used].filter(
    (metric) => !FOREIGN.has(metric) && !documented.has(familyOf(metric, documented)),
  );
  t.deepEqual(unknown, []);
});
