/**
 * `npm run bench`: Drover beside what a user would pick instead, and a report of medians.
 *
 * Owns: the command line and where results go. Does not own: how it is measured (`comparison.ts`).
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Command, Option } from 'commander';
import { chartSvg } from './chart.ts';
import { Comparison } from './comparison.ts';
import { replaceGenerated } from './document.ts';
import { machineFacts } from './machine.ts';
import { PAGE_CACHE_STATES, type PageCacheState } from './page-cache.ts';
import { endServersOnSignals } from './process.ts';
import { reachedRatios } from './reached.ts';
import {
  type BenchReport,
  methodLines,
  type RowReport,
  reportTable,
  type SpecialReport,
} from './report.ts';
import { ROW_SIZES, ROWS } from './rows.ts';
import { SERVER_NAMES, type ServerName } from './servers.ts';
import { SPECIAL_ROWS } from './special-rows.ts';

interface Options {
  readonly row?: string[];
  readonly server: ServerName[];
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUp: number;
  readonly pageCache: PageCacheState;
  readonly profile?: boolean;
  readonly json: string;
  readonly from?: string;
  readonly chart?: string;
  readonly doc?: string;
  readonly reached?: string;
}

async function run(options: Options): Promise<BenchReport> {
  const { server: servers, rounds, seconds, warmUp: warmSeconds, pageCache, row: names } = options;
  const chosen = (row: { name: string }) => names?.includes(row.name) ?? true;
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-bench-'));
  const remove = () => fs.rmSync(directory, { recursive: true, force: true });
  endServersOnSignals(remove);
  try {
    const machine = await machineFacts(directory);
    const done: RowReport[] = [];
    const reportOf = (rows: RowReport[], specials: SpecialReport[]): BenchReport => {
      const { commandLines } = comparison;
      return {
        machine,
        method: { rounds, seconds, warmSeconds, pageCache },
        commandLines,
        rows,
        specials,
      };
    };
    const comparison = new Comparison({
      ...{ directory, servers, rounds, seconds, warmSeconds, pageCache, sizes: ROW_SIZES },
      ...(options.profile === true ? { profileDirectory: path.resolve('profiles') } : {}),
      note: (text) => process.stderr.write(`${text}\n`),
      rowDone(report) {
        done.push(report);
        write(options.json, reportOf(done, []));
      },
    });
    const rows = await comparison.rows(ROWS.filter(chosen));
    return reportOf(rows, await comparison.specialRows(SPECIAL_ROWS.filter(chosen)));
  } finally {
    remove();
  }
}

function write(file: string, report: BenchReport): void {
  fs.writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`'${text}' is not a number above 0`);
  return value;
}

function serverNames(text: string): ServerName[] {
  return text.split(',').map((word) => {
    const name = SERVER_NAMES.find((known) => known === word);
    if (name === undefined) throw new Error(`'${word}' is none of ${SERVER_NAMES.join(', ')}`);
    return name;
  });
}

const rowNames = [...ROWS, ...SPECIAL_ROWS].map((row) => row.name);
const options = new Command('bench')
  .description('Measures Drover beside nbdkit and qemu-nbd.')
  .addOption(new Option('--row <names...>', 'only these rows').choices(rowNames))
  .option('--server <names>', 'only these servers, separated by commas', serverNames, [
    ...SERVER_NAMES,
  ])
  .option('--rounds <n>', 'rounds of each row', positive, 3)
  .option('--seconds <n>', 'seconds of each timed run', positive, 5)
  .option(
    '--warm-up <n>',
    "seconds of each row's job on each server that are not measured",
    positive,
    5,
  )
  .addOption(
    new Option('--page-cache <state>', "the kernel's page cache before a cold row, for all servers")
      .choices(PAGE_CACHE_STATES)
      .default('warm'),
  )
  .option('--profile', "leave CPU profiles of Drover's processes in profiles/")
  .option('--json <file>', 'where the figures go', 'bench-result.json')
  .option('--from <file>', 'measure nothing: read the figures that an earlier run left')
  .option('--chart <file>', 'where the chart goes, for instance docs/performance.svg')
  .option('--doc <file>', 'a document whose generated part is replaced by the table')
  .option('--reached <file>', 'where the ratios go that the speed guard compares with')
  .parse()
  .opts<Options>();

const { from } = options;
const report =
  from === undefined
    ? await run(options)
    : (JSON.parse(fs.readFileSync(from, 'utf8')) as BenchReport);
if (from === undefined) write(options.json, report);
if (options.chart !== undefined) fs.writeFileSync(options.chart, chartSvg(report));
if (options.doc !== undefined) {
  const text = [...methodLines(report), '', reportTable(report)].join('\n');
  replaceGenerated(options.doc, 'bench', text);
}
if (options.reached !== undefined) {
  fs.writeFileSync(options.reached, `${JSON.stringify(reachedRatios(report), null, 2)}\n`);
}
const commandLines = Object.entries(report.commandLines).map(
  ([name, lines]) => `${name}: ${lines.join('\n  ')}`,
);
process.stdout.write(
  [...methodLines(report), ...commandLines, '', reportTable(report), ''].join('\n'),
);
