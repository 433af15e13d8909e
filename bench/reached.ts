/**
 * The ratios that a run of the benchmark reached, as the speed guard keeps them in `reached.json`.
 */
import fs from 'node:fs';
import path from 'node:path';
import { type BenchReport, goalRatio } from './report.ts';

/** Drover's median over its peer's; a server that was not measured is left out. */
export interface ReachedRatio {
  readonly peer: string;
  readonly embedded?: number;
  readonly cluster?: number;
}

export interface ReachedRatios {
  readonly rows: Readonly<Record<string, ReachedRatio>>;
}

const FILE = path.join(import.meta.dirname, 'reached.json');

export function readReached(): ReachedRatios {
  return JSON.parse(fs.readFileSync(FILE, 'utf8')) as ReachedRatios;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Of the rows that have a peer; those that a run left out keep what was reached before. */
export function reachedRatios(report: BenchReport): ReachedRatios {
  const rows: Record<string, ReachedRatio> = { ...readReached().rows };
  for (const row of report.rows) {
    const { name, goal } = row.row;
    if (goal === undefined) continue;
    const embedded = goalRatio(row, 'drover-embedded');
    const cluster = goalRatio(row, 'drover-cluster');
    if (embedded === undefined && cluster === undefined) continue;
    rows[name] = {
      ...rows[name],
      peer: goal.peer,
      ...(embedded === undefined ? {} : { embedded: rounded(embedded.reached) }),
      ...(cluster === undefined ? {} : { cluster: rounded(cluster.reached) }),
    };
  }
  return { rows };
}
