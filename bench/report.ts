/**
 * What a run of the benchmark leaves: medians, ratios, a table, JSON and a chart.
 */
import { type MachineFacts, machineLines } from './machine.ts';
import type { Measurement } from './measure.ts';
import type { PageCacheState } from './page-cache.ts';
import type { Row } from './rows.ts';
import type { ServerName } from './servers.ts';
import type { SpecialRow } from './special-rows.ts';

export interface RowReport {
  readonly row: Row;
  readonly rounds: Readonly<Partial<Record<ServerName, readonly Measurement[]>>>;
}

export interface SpecialReport {
  readonly row: Pick<SpecialRow, 'name' | 'title' | 'unit' | 'goalMax'>;
  readonly figures: Readonly<Partial<Record<ServerName, readonly number[]>>>;
}

export interface BenchReport {
  readonly machine: MachineFacts;
  readonly method: {
    readonly rounds: number;
    readonly seconds: number;
    readonly warmSeconds: number;
    readonly pageCache: PageCacheState;
  };
  readonly commandLines: Readonly<Record<string, readonly string[]>>;
  readonly rows: readonly RowReport[];
  readonly specials: readonly SpecialReport[];
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

export function rate(row: Row, rounds: readonly Measurement[]): number {
  return median(
    rounds.map((m) => (row.unit === 'requests' ? m.requestsPerSecond : m.bytesPerSecond)),
  );
}

function formatRate(row: Row, value: number): string {
  return row.unit === 'requests'
    ? `${Math.round(value).toLocaleString('en-US')}/s`
    : `${Math.round(value / 1e6).toLocaleString('en-US')} MB/s`;
}

/** The goal's ratio, reached and wanted; undefined where the row has no goal or no figures. */
export function goalRatio(
  report: RowReport,
  server: ServerName,
): { readonly reached: number; readonly wanted: number } | undefined {
  const { goal } = report.row;
  if (goal === undefined || !server.startsWith('drover')) return undefined;
  const own = report.rounds[server];
  const peer = report.rounds[goal.peer];
  if (own === undefined || peer === undefined) return undefined;
  return {
    reached: rate(report.row, own) / rate(report.row, peer),
    wanted: server === 'drover-embedded' ? goal.embedded : goal.cluster,
  };
}

function rowLines(report: RowReport): string[] {
  const lines: string[] = [];
  for (const [name, rounds] of Object.entries(report.rounds)) {
    const ratio = goalRatio(report, name as ServerName);
    const verdict =
      ratio === undefined
        ? ''
        : `${ratio.reached.toFixed(2)} × ${report.row.goal?.peer} (goal ${ratio.wanted})`;
    const of = (pick: (m: Measurement) => number) => median(rounds.map(pick));
    lines.push(
      `| ${[
        report.row.title,
        name,
        formatRate(report.row, rate(report.row, rounds)),
        `${of((m) => m.meanUs).toFixed(0)} / ${of((m) => m.p99Us).toFixed(0)} / ${of((m) => m.p999Us).toFixed(0)}`,
        of((m) => m.cpuSecondsPerMillion).toFixed(1),
        Math.round(of((m) => m.residentBytes) / 2 ** 20),
        verdict,
      ].join(' | ')} |`,
    );
  }
  return lines;
}

/** On what and how it was measured. */
export function methodLines({ machine, method }: BenchReport): string[] {
  const { rounds, seconds, warmSeconds, pageCache } = method;
  return [
    ...machineLines(machine),
    `- method: medians of ${rounds} rounds of ${seconds} s after ${warmSeconds} s that are not measured, servers in turn; page cache before cold rows: ${pageCache}`,
  ];
}

/** A Markdown table of medians. */
export function reportTable(report: BenchReport): string {
  const head = [
    '| row | server | rate | mean / p99 / p99.9 µs | CPU s per million | RSS MiB | ratio |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ];
  const special = report.specials.flatMap(({ row, figures }) =>
    Object.entries(figures).map(
      ([name, values]) =>
        `| ${row.title} | ${name} | ${median(values).toFixed(2)} ${row.unit === 'seconds' ? 's' : '×'} | | | | goal < ${name === 'drover-cluster' ? row.goalMax.cluster : row.goalMax.embedded} |`,
    ),
  );
  return [...head, ...report.rows.flatMap(rowLines), ...special].join('\n');
}
