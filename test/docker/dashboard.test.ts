/**
 * The Grafana dashboard: its queries are PromQL, its panels can be read.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { dashboardPanels, type Panel, panelExpressions } from './dashboard.ts';
import { CHECKOUT, checkExpressions } from './promtool.ts';

async function expressions(): Promise<string[]> {
  return (await dashboardPanels()).flatMap(panelExpressions);
}

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

test('every query of the dashboard is PromQL', async (t) => {
  const all = await expressions();
  t.true(all.length > 40);
  for (const expression of all) t.notRegex(expression, /\$/, 'an unknown variable');
  await t.notThrowsAsync(checkExpressions(t, all));
});

test('every panel asks the provisioned data source', async (t) => {
  const folder = join(CHECKOUT, 'docker', 'grafana', 'provisioning', 'datasources');
  const source = await readFile(join(folder, 'prometheus.yml'), 'utf8');
  const uid = source.match(/^ +uid: (\w+)$/m)?.[1];
  for (const panel of await dashboardPanels()) {
    for (const target of panel.targets ?? []) t.is(target.datasource.uid, uid!, panel.title);
  }
});

test('every panel says its unit and what it shows', async (t) => {
  for (const panel of await dashboardPanels()) {
    if (panel.type === 'row') continue;
    t.truthy(panel.fieldConfig?.defaults.unit, panel.title);
    t.truthy(panel.description, panel.title);
  }
});

test('no two panels share an id, a title or a place', async (t) => {
  const panels = await dashboardPanels();
  t.is(new Set(panels.map(({ id }) => id)).size, panels.length);
  t.is(new Set(panels.map(({ title }) => title)).size, panels.length);
  panels.forEach((panel, index) => {
    for (const other of panels.slice(index + 1)) {
      t.false(overlap(panel, other), `${panel.title} lies on ${other.title}`);
    }
  });
});
