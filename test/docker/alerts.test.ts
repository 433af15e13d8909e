/**
 * The alert rules, judged by Prometheus: each fires, and clears again.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { FIRING, QUIET } from './alert-cases.ts';
import {
  ALERTS_FILE,
  BAD_MIN,
  CHECKOUT,
  checkAlert,
  END_MIN,
  type Moment,
  promtool,
} from './promtool.ts';

async function alertNames(): Promise<string[]> {
  const text = await readFile(ALERTS_FILE, 'utf8');
  return [...text.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name!);
}

for (const { alert, when, series, notBeforeSeconds, firesAfterMin, expected } of FIRING) {
  test(`${alert} fires when ${when}, and clears`, async (t) => {
    const moments: Moment[] = [
      { minute: BAD_MIN - 1, expected: [] },
      { minute: BAD_MIN + firesAfterMin, expected: [expected] },
      { minute: END_MIN - 1, expected: [] },
    ];
    if (notBeforeSeconds !== undefined) {
      moments.push({ minute: BAD_MIN + notBeforeSeconds / 60, expected: [] });
    }
    await t.notThrowsAsync(checkAlert(t, alert, series, moments));
  });
}

for (const { alert, when, series } of QUIET) {
  test(`${alert} does not fire when ${when}`, async (t) => {
    const minutes = Array.from({ length: END_MIN }, (_, minute) => ({ minute, expected: [] }));
    await t.notThrowsAsync(checkAlert(t, alert, series, minutes));
  });
}

test('every alert has a test that sees it fire', async (t) => {
  t.deepEqual(new Set(FIRING.map(({ alert }) => alert)), new Set(await alertNames()));
});

test('every alert says in the operations page what to do', async (t) => {
  const page = await readFile(join(CHECKOUT, 'docs', 'operations.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(Drover\w+)` \|/gm)].map(([, name]) => name!);
  t.deepEqual(rows.toSorted(), (await alertNames()).toSorted());
});

test("Prometheus' configuration and rules are valid", async (t) => {
  const folder = join(CHECKOUT, 'docker', 'prometheus');
  await t.notThrowsAsync(promtool('check', 'config', join(folder, 'prometheus.yml')));
  await t.notThrowsAsync(promtool('check', 'rules', ALERTS_FILE));
});
