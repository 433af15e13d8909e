/**
 * `npm run bench:growth`: what Drover costs as volumes, connections, objects and fill grow.
 *
 * Owns: the command line, the campaign's time, and where results go. A part that fails, or has no
 * time left, is reported as missing; the others are measured. The figures are written after each
 * part, so that an interrupted campaign leaves what it has.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Command, Option } from 'commander';
import { replaceGenerated } from '../document.ts';
import { machineFacts } from '../machine.ts';
import { endServersOnSignals } from '../process.ts';
import { ATTACHED_PART } from './attached-part.ts';
import { CLEANING_PART } from './cleaning-part.ts';
import { CONNECTION_PART } from './connection-part.ts';
import { growthChart } from './growth-chart.ts';
import { GROWTH_SCALES, type GrowthPart, type GrowthScale } from './growth-part.ts';
import {
  formatFigure,
  type GrowthPoint,
  type GrowthReport,
  growthText,
  type PartReport,
} from './growth-report.ts';
import { START_PART } from './start-part.ts';
import { VOLUME_PART } from './volume-part.ts';

/** In this order, so that those with targets are not the ones that time runs out for. */
const PARTS = [START_PART, VOLUME_PART, CLEANING_PART, CONNECTION_PART, ATTACHED_PART];

interface Options {
  readonly part?: string[];
  readonly only?: string[];
  readonly scale: GrowthScale['name'];
  readonly minutes: number;
  readonly json: string;
  readonly from?: string;
  readonly chart?: string;
  readonly doc?: string;
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** As `--only` says it and the tables show it. */
function pointName(series: string, at: string): string {
  return `${series}, ${at}`;
}

/** Points that were measured again come where they were, new ones first. */
function sortAs(points: GrowthPoint[], before: readonly GrowthPoint[]): void {
  const place = (point: GrowthPoint) =>
    before.findIndex(({ series, at }) => series === point.series && at === point.at);
  points.sort((a, b) => place(a) - place(b));
}

/** `before`: what an earlier run left of the part; its points stay where only some are chosen. */
async function runPart(
  part: GrowthPart,
  options: Options,
  root: string,
  endMs: number,
  before: PartReport | undefined,
): Promise<PartReport> {
  const scale = GROWTH_SCALES[options.scale];
  const isWanted = (series: string, at: string) =>
    options.only?.includes(pointName(series, at)) ?? true;
  const directory = path.join(root, part.name);
  fs.mkdirSync(directory);
  const kept = options.only === undefined ? [] : (before?.points ?? []);
  const points = kept.filter(({ series, at }) => !isWanted(series, at));
  const problems: string[] = [];
  const startMs = performance.now();
  try {
    await part.run({
      scale,
      directory,
      note,
      isWanted,
      checkTime() {
        if (performance.now() > endMs) throw new Error('the time of the campaign was over');
      },
      add(point) {
        points.push(point);
        const figures = Object.entries(point.figures);
        const shown = figures.map(([key, value]) => `${key} ${formatFigure(value)}`).join(', ');
        note(`${part.name}: ${point.series}, ${point.at}: ${shown}`);
      },
    });
    const names = points.map(({ series, at }) => pointName(series, at));
    if (options.only !== undefined) sortAs(points, before?.points ?? []);
    const unknown = options.only?.filter((name) => !names.includes(name)) ?? [];
    if (unknown.length > 0) throw new Error(`there is no point '${unknown.join("', '")}'`);
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
    note(`${part.name}: ${problems.at(-1)}`);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
  note(`${part.name}: ${((performance.now() - startMs) / 1000).toFixed(0)} s`);
  const { name, title, method, axis, measures } = part;
  return { name, title, method, axis, measures, points, targets: part.targets(points), problems };
}

/** Parts that are not chosen stay as an earlier run of the same scale left them. */
function partsBefore({ part, json, scale }: Options): readonly PartReport[] {
  if (part === undefined || !fs.existsSync(json)) return [];
  const before = JSON.parse(fs.readFileSync(json, 'utf8')) as GrowthReport;
  return before.scale === scale ? before.parts : [];
}

async function campaign(options: Options): Promise<GrowthReport> {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-growth-'));
  const remove = () => fs.rmSync(root, { recursive: true, force: true });
  endServersOnSignals(remove);
  try {
    const endMs = performance.now() + options.minutes * 60_000;
    const machine = await machineFacts(root);
    let report: GrowthReport = { machine, scale: options.scale, parts: partsBefore(options) };
    for (const part of PARTS) {
      if (options.part !== undefined && !options.part.includes(part.name)) continue;
      const before = report.parts.find(({ name }) => name === part.name);
      const done = await runPart(part, options, root, endMs, before);
      const others = report.parts.filter(({ name }) => name !== done.name);
      const inOrder = PARTS.flatMap((one) =>
        [...others, done].filter(({ name }) => name === one.name),
      );
      report = { ...report, parts: inOrder };
      fs.writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    }
    return report;
  } finally {
    remove();
  }
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`'${text}' is not a number above 0`);
  return value;
}

const options = new Command('bench:growth')
  .description('Measures what Drover costs as the work grows.')
  .addOption(
    new Option('--part <names...>', 'only these parts').choices(PARTS.map(({ name }) => name)),
  )
  .addOption(
    new Option(
      '--only <points...>',
      "of the part on volumes only these, for instance 'cluster, 64 TiB'; others stay as they are",
    ).implies({ part: [VOLUME_PART.name] }),
  )
  .addOption(
    new Option('--scale <scale>', 'small: only to see that it works')
      .choices(Object.keys(GROWTH_SCALES))
      .default('full'),
  )
  .option('--minutes <n>', 'no point is begun after so long', positive, 22)
  .option('--json <file>', 'where the figures go', 'growth-result.json')
  .option('--from <file>', 'measure nothing: read the figures that an earlier run left')
  .option('--chart <file>', 'where the chart goes, for instance docs/growth.svg')
  .option('--doc <file>', 'a document whose generated part is replaced by the tables')
  .parse()
  .opts<Options>();

const report =
  options.from === undefined
    ? await campaign(options)
    : (JSON.parse(fs.readFileSync(options.from, 'utf8')) as GrowthReport);
if (options.chart !== undefined) fs.writeFileSync(options.chart, growthChart(report));
if (options.doc !== undefined) replaceGenerated(options.doc, 'growth', growthText(report));
process.stdout.write(`${growthText(report)}\n`);
if (report.parts.some(({ problems }) => problems.length > 0)) process.exitCode = 1;
