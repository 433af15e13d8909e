/**
 * The provisioned Grafana dashboard, as far as the tests look into it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CHECKOUT } from './promtool.ts';

export const DASHBOARD_FILE = join(CHECKOUT, 'docker', 'grafana', 'dashboards', 'drover.json');

interface Datasource {
  readonly type: string;
  readonly uid: string;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: Datasource;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr: string; readonly datasource: Datasource }[];
}

export async function dashboardPanels(): Promise<readonly Panel[]> {
  const text = await readFile(DASHBOARD_FILE, 'utf8');
  return (JSON.parse(text) as { panels: readonly Panel[] }).panels;
}

/** The queries of a panel as Grafana sends them: for every gateway, over a minute. */
export function panelExpressions(panel: Panel): string[] {
  return (panel.targets ?? []).map(({ expr }) =>
    expr.replaceAll('$__rate_interval', '1m').replaceAll('$gateway', '.*'),
  );
}
