/**
 * What the growth campaign leaves: points, targets, tables.
 */
import { type MachineFacts, machineLines } from '../machine.ts';

/** A figure that is measured at each point of a part. */
export interface Measure {
  readonly key: string;
  readonly title: string;
  readonly unit: 'ms' | 'µs' | 'MiB' | '/s' | '×' | '%';
  /** Drawn in the chart. */
  readonly isPlotted?: boolean;
}

export interface GrowthPoint {
  /** What was measured, for instance `embedded, three copies`. */
  readonly series: string;
  /** What it was measured at, for instance `1 TiB`. */
  readonly at: string;
  readonly figures: Readonly<Record<string, number>>;
}

export interface Target {
  readonly title: string;
  readonly wanted: string;
  readonly reached: string;
  readonly isMet: boolean;
}

export interface PartReport {
  readonly name: string;
  readonly title: string;
  /** What was made and measured, for the reader. */
  readonly method: string;
  readonly axis: string;
  readonly measures: readonly Measure[];
  readonly points: readonly GrowthPoint[];
  readonly targets: readonly Target[];
  /** Why points are missing. */
  readonly problems: readonly string[];
}

export interface GrowthReport {
  readonly machine: MachineFacts;
  readonly scale: string;
  readonly parts: readonly PartReport[];
}

export function formatFigure(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function partLines(part: PartReport): string[] {
  const heads = part.measures.map(({ title, unit }) => `${title} ${unit}`);
  const columns = ['', part.axis, ...heads];
  const met = (target: Target) => (target.isMet ? 'met' : 'missed');
  return [
    `### ${part.title}`,
    '',
    part.method,
    '',
    row(columns),
    row(columns.map(() => '---')),
    ...part.points.map(({ series, at, figures }) =>
      row([series, at, ...part.measures.map(({ key }) => formatFigure(figures[key]))]),
    ),
    '',
    ...part.targets.map(
      (target) => `- ${target.title}: ${target.reached} (target ${target.wanted}, ${met(target)})`,
    ),
    ...part.problems.map((problem) => `- not measured: ${problem}`),
    '',
  ];
}

export function growthText(report: GrowthReport): string {
  const scale = report.scale === 'full' ? [] : [`- scale: ${report.scale}, not what is said below`];
  const lines = [...machineLines(report.machine), ...scale, ''];
  lines.push(...report.parts.flatMap(partLines));
  return lines.join('\n').trimEnd();
}
