/**
 * The growth campaign as small charts beside each other: a figure each, a line for each series.
 */
import type { GrowthReport, Measure, PartReport } from './growth-report.ts';
import { formatFigure } from './growth-report.ts';

const COLUMNS = 3;
const CELL_WIDTH = 330;
const CELL_HEIGHT = 210;
const PLOT = { left: 55, right: 15, top: 40, bottom: 45 };
const COLOURS = ['#2b6cb0', '#c05621', '#2f855a', '#6b46c1'];

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function cell(part: PartReport, measure: Measure, index: number): string {
  const left = (index % COLUMNS) * CELL_WIDTH;
  const top = Math.floor(index / COLUMNS) * CELL_HEIGHT;
  const places = [...new Set(part.points.map(({ at }) => at))];
  const series = [...new Set(part.points.map((point) => point.series))];
  const values = part.points.map(({ figures }) => figures[measure.key] ?? 0);
  const valueMax = Math.max(...values) * 1.1 || 1;
  const width = CELL_WIDTH - PLOT.left - PLOT.right;
  const height = CELL_HEIGHT - PLOT.top - PLOT.bottom;
  const x = (place: string) =>
    left + PLOT.left + ((places.indexOf(place) + 0.5) / places.length) * width;
  const y = (value: number) => top + PLOT.top + height * (1 - value / valueMax);
  const lines = series.map((name, n) => {
    const points = part.points.filter((point) => point.series === name);
    const known = points.filter(({ figures }) => figures[measure.key] !== undefined);
    const places = known.map(({ at, figures }) => {
      const value = figures[measure.key]!;
      return { x: x(at).toFixed(1), y: y(value).toFixed(1) };
    });
    const colour = COLOURS[n % COLOURS.length];
    return [
      `<polyline fill="none" stroke="${colour}" stroke-width="1.5" points="${places.map((place) => `${place.x},${place.y}`).join(' ')}"/>`,
      ...places.map(
        (place) => `<circle cx="${place.x}" cy="${place.y}" r="2.5" fill="${colour}"/>`,
      ),
      `<text x="${left + PLOT.left + n * 105}" y="${top + CELL_HEIGHT - 12}" fill="${colour}" font-size="8">${escaped(name)}</text>`,
    ].join('\n');
  });
  return [
    `<text x="${left + PLOT.left}" y="${top + 16}" font-weight="bold">${escaped(part.title)}</text>`,
    `<text x="${left + PLOT.left}" y="${top + 30}">${escaped(`${measure.title}, ${measure.unit}`)}</text>`,
    ...[0, 0.5, 1].map((share) => {
      const value = valueMax * share;
      const at = y(value).toFixed(1);
      return [
        `<line x1="${left + PLOT.left}" x2="${left + CELL_WIDTH - PLOT.right}" y1="${at}" y2="${at}" stroke="#e2e8f0"/>`,
        `<text x="${left + PLOT.left - 5}" y="${at}" text-anchor="end">${formatFigure(value)}</text>`,
      ].join('\n');
    }),
    ...places.map(
      (place) =>
        `<text x="${x(place).toFixed(1)}" y="${top + CELL_HEIGHT - 28}" text-anchor="middle">${escaped(place)}</text>`,
    ),
    ...lines,
  ].join('\n');
}

export function growthChart(report: GrowthReport): string {
  const cells = report.parts.flatMap((part) =>
    part.points.length === 0
      ? []
      : part.measures
          .filter((measure) => measure.isPlotted === true)
          .map((measure) => ({ part, measure })),
  );
  const width = COLUMNS * CELL_WIDTH;
  const height = Math.max(1, Math.ceil(cells.length / COLUMNS)) * CELL_HEIGHT;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="9">`,
    '<title>What Drover costs as the work grows</title>',
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...cells.map(({ part, measure }, index) => cell(part, measure, index)),
    '</svg>',
    '',
  ].join('\n');
}
