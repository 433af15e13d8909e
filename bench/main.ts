/**
 * `npm run bench`: the same rows against each server in turn, and a report of medians.
 *
 * Owns: the order of servers and rounds, and where results go. Servers of one group of rows run
 * side by side, idle but for the one that is measured: A B A B, so that a machine whose speed
 * drifts drifts for all.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { chartSvg } from './chart.ts';
import { machineFacts } from './machine.ts';
import { fill, flush, type Measurement, measure } from './measure.ts';
import { type BenchReport, type RowReport, reportTable, type SpecialReport } from './report.ts';
import { COLD_CACHE, COLD_SIZE, ROWS, type Row } from './rows.ts';
import { type RunningServer, SERVER_NAMES, type ServerName, startServer } from './servers.ts';
import { SPECIAL_ROWS } from './special-rows.ts';

const DISK_BYTES = 16 * 2 ** 30;
const TEBIBYTE = 2 ** 40;

interface Options {
  readonly row?: string[];
  readonly server: ServerName[];
  readonly rounds: number;
  readonly seconds: number;
  readonly profile?: boolean;
  readonly json: string;
  readonly chart?: string;
}

type Rounds = Partial<Record<ServerName, Measurement[]>>;

class Bench {
  readonly #options: Options;
  readonly #directory = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-bench-'));
  readonly #commandLines: Record<string, string[]> = {};

  constructor(options: Options) {
    this.#options = options;
  }

  async run(): Promise<BenchReport> {
    try {
      const machine = await machineFacts(this.#directory);
      const chosen = (row: { name: string }) => this.#options.row?.includes(row.name) ?? true;
      const resident = ROWS.filter((row) => row.state === 'resident' && chosen(row));
      const cold = ROWS.filter((row) => row.state === 'cold' && chosen(row));
      const rows = [...(await this.#residentRows(resident)), ...(await this.#coldRows(cold))];
      const specials = await this.#specialRows(SPECIAL_ROWS.filter(chosen));
      return { machine, commandLines: this.#commandLines, rows, specials };
    } finally {
      fs.rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  #start(name: ServerName, group: string, diskBytes: number, cache?: string) {
    const profile = this.#options.profile === true ? path.resolve('profiles') : undefined;
    return startServer(name, {
      directory: path.join(this.#directory, group, name),
      diskBytes,
      ...(cache === undefined ? {} : { cache }),
      ...(profile === undefined ? {} : { profileDirectory: profile }),
    });
  }

  #note(row: Row, server: RunningServer, measurement: Measurement): void {
    this.#commandLines[server.name] ??= [...server.commandLines];
    this.#commandLines[`fio ${row.name}`] ??= [measurement.commandLine];
    const rate = Math.round(measurement.requestsPerSecond);
    process.stderr.write(`${row.name} ${server.name}: ${rate} requests/s\n`);
  }

  async #residentRows(rows: readonly Row[]): Promise<RowReport[]> {
    if (rows.length === 0) return [];
    const servers: RunningServer[] = [];
    try {
      for (const name of this.#options.server) {
        const server = await this.#start(name, 'resident', DISK_BYTES);
        servers.push(server);
        await fill(server, '1G', this.#directory);
      }
      const reports: RowReport[] = [];
      for (const row of rows) reports.push(await this.#residentRow(row, servers));
      return reports;
    } finally {
      for (const server of servers) await server.end();
    }
  }

  async #residentRow(row: Row, servers: readonly RunningServer[]): Promise<RowReport> {
    const rounds: Rounds = {};
    for (let round = 0; round < this.#options.rounds; round += 1) {
      for (const server of servers) {
        const result = await measure(server, row, this.#options.seconds, this.#directory);
        this.#note(row, server, result);
        rounds[server.name] = [...(rounds[server.name] ?? []), result];
      }
    }
    return { row, rounds };
  }

  async #coldRows(rows: readonly Row[]): Promise<RowReport[]> {
    if (rows.length === 0) return [];
    // nbdkit's memory has nothing cold.
    const names = this.#options.server.filter((name) => name !== 'nbdkit-memory');
    for (const name of names) {
      const server = await this.#start(name, 'cold', DISK_BYTES, COLD_CACHE);
      await fill(server, COLD_SIZE, this.#directory);
      await server.end();
    }
    const reports: RowReport[] = [];
    for (const row of rows) {
      const rounds: Rounds = {};
      for (let round = 0; round < this.#options.rounds; round += 1) {
        for (const name of names) {
          const server = await this.#start(name, 'cold', DISK_BYTES, COLD_CACHE);
          try {
            const result = await measure(server, row, this.#options.seconds, this.#directory);
            this.#note(row, server, result);
            rounds[name] = [...(rounds[name] ?? []), result];
          } finally {
            await server.end();
          }
        }
      }
      reports.push({ row, rounds });
    }
    return reports;
  }

  async #specialRows(rows: typeof SPECIAL_ROWS): Promise<SpecialReport[]> {
    const names = this.#options.server.filter((name) => name.startsWith('drover'));
    const figures = rows.map(() => ({}) as Partial<Record<ServerName, number[]>>);
    for (const name of rows.length === 0 ? [] : names) {
      const server = await this.#start(name, 'special', TEBIBYTE);
      try {
        await fill(server, '1G', this.#directory);
        for (const [index, row] of rows.entries()) {
          for (let round = 0; round < this.#options.rounds; round += 1) {
            const figure = await row.measure(server, this.#directory);
            await flush(server);
            process.stderr.write(`${row.name} ${name}: ${figure.toFixed(3)} ${row.unit}\n`);
            figures[index]![name] = [...(figures[index]![name] ?? []), figure];
          }
        }
      } finally {
        await server.end();
      }
    }
    return rows.map((row, index) => ({ row, figures: figures[index]! }));
  }
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

const options = new Command('bench')
  .description('Measures Drover beside nbdkit and qemu-nbd.')
  .option(
    '--row <names...>',
    `only these rows: ${[...ROWS, ...SPECIAL_ROWS].map((row) => row.name).join(', ')}`,
  )
  .option('--server <names>', 'only these servers, separated by commas', serverNames, [
    ...SERVER_NAMES,
  ])
  .option('--rounds <n>', 'rounds of each row', positive, 3)
  .option('--seconds <n>', 'seconds of each timed run', positive, 5)
  .option('--profile', "leave CPU profiles of Drover's processes in profiles/")
  .option('--json <file>', 'where the figures go', 'bench-result.json')
  .option('--chart <file>', 'where the chart goes, for instance docs/performance.svg')
  .parse()
  .opts<Options>();

const report = await new Bench(options).run();
fs.writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
if (options.chart !== undefined) fs.writeFileSync(options.chart, chartSvg(report));
const { machine } = report;
process.stdout.write(
  [
    `machine: ${machine.processor}, ${machine.cores} cores, ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB, Linux ${machine.kernel}`,
    `versions: ${Object.entries(machine.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}`,
    `raw disk: ${machine.rawDisk.syncedWritesPerSecond.toFixed(0)} synced 4 KiB writes/s (${machine.rawDisk.commandLine})`,
    ...Object.entries(report.commandLines).map(([name, lines]) => `${name}: ${lines.join('\n  ')}`),
    '',
    reportTable(report),
    '',
  ].join('\n'),
);
