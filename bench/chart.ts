/**
 * The chart of `docs/performance.md`: for each row, the ratio of Drover's median to its peer's.
 */
import { type BenchReport, goalRatio, type RowReport } from './report.ts';

const ROW_HEIGHT = 34;
const LABEL_WIDTH = 330;
const BAR_WIDTH_PER_RATIO = 180;
const RATIO_MAX = 2.6;
const BAR_HEIGHT = 11;

function bar(report: RowReport, server: 'drover-embedded' | 'drover-cluster', y: number): string {
  const ratio = goalRatio(report, server);
  if (ratio === undefined) return '';
  const width = Math.min(ratio.reached, RATIO_MAX) * BAR_WIDTH_PER_RATIO;
  const goalX = LABEL_WIDTH + Math.min(ratio.wanted, RATIO_MAX) * BAR_WIDTH_PER_RATIO;
  const colour = server === 'drover-embedded' ? '#2b6cb0' : '#90b4d8';
  return [
    `<rect x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" fill="${colour}"/>`,
    `<line x1="${goalX}" x2="${goalX}" y1="${y - 1}" y2="${y + BAR_HEIGHT + 1}" stroke="#c05621" stroke-width="2"/>`,
    `<text x="${(LABEL_WIDTH + width + 6).toFixed(1)}" y="${y + 9}">${ratio.reached.toFixed(2)} ×</text>`,
  ].join('\n');
}

export function chartSvg(report: BenchReport): string {
  const rows = report.rows.filter(({ row }) => row.goal !== undefined);
  const height = rows.length * ROW_HEIGHT + 50;
  const width = LABEL_WIDTH + RATIO_MAX * BAR_WIDTH_PER_RATIO + 70;
  const body = rows.map((row, index) => {
    const y = 40 + index * ROW_HEIGHT;
    return [
      `<text x="${LABEL_WIDTH - 10}" y="${y + 15}" text-anchor="end">${row.row.title}</text>`,
      bar(row, 'drover-embedded', y),
      bar(row, 'drover-cluster', y + BAR_HEIGHT + 2),
    ].join('\n');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    '<title>Rates of Drover over those of its peers</title>',
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${LABEL_WIDTH}" y="20" font-size="13">Drover with three copies, embedded (dark) and as a cluster (light), over its peer; the mark is the goal</text>`,
    ...body,
    '</svg>',
    '',
  ].join('\n');
}
