/**
 * The same rows against each server in turn: A B A B, so that a machine whose speed drifts drifts
 * for all.
 *
 * Owns: the order of servers and rounds, and the life of the servers. Those of one state's rows run
 * side by side, idle but for the one that is measured; what they wrote is removed when the last row
 * of the state is done. Does not own what a row measures (`measure.ts`), nor what becomes of the
 * figures.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fill, flush, type Measurement, measure, untilQuiet, warmUp } from './measure.ts';
import { type PageCacheState, preparePageCache } from './page-cache.ts';
import type { RowReport, SpecialReport } from './report.ts';
import { type Row, type RowSizes, takesPart } from './rows.ts';
import { type RunningServer, type ServerName, startServer } from './servers.ts';
import type { SpecialRow } from './special-rows.ts';

export interface ComparisonOptions {
  /** For data, logs and what `fio` leaves; nobody else's. */
  readonly directory: string;
  readonly servers: readonly ServerName[];
  readonly rounds: number;
  /** Of each timed run that names no time itself. */
  readonly seconds: number;
  /**
   * Each row's job runs for so long, unmeasured, on each server that was just started; a special row
   * once, if this is not 0.
   */
  readonly warmSeconds: number;
  readonly sizes: RowSizes;
  readonly pageCache: PageCacheState;
  readonly profileDirectory?: string;
  /** Which server a row is measured on; those that can say something about it if left out. */
  readonly takesPart?: (row: Row, server: ServerName) => boolean;
  /** Told of each figure as it is there. */
  readonly note: (text: string) => void;
  /** Told of each row as it is done: what comes later may fail. */
  readonly rowDone?: (report: RowReport) => void;
}

type Rounds = Partial<Record<ServerName, Measurement[]>>;

const RESIDENT_DISK_BYTES = 16 * 2 ** 30;
const TEBIBYTE = 2 ** 40;
const UNITS = { M: 2 ** 20, G: 2 ** 30 };

function bytesOf(size: string): number {
  return Number(size.slice(0, -1)) * UNITS[size.at(-1) as keyof typeof UNITS];
}

export class Comparison {
  readonly #options: ComparisonOptions;
  readonly #takesPart: (row: Row, server: ServerName) => boolean;
  /** How each server and each job was started. */
  readonly commandLines: Record<string, readonly string[]> = {};

  constructor(options: ComparisonOptions) {
    this.#options = options;
    this.#takesPart = options.takesPart ?? takesPart;
  }

  async rows(rows: readonly Row[]): Promise<RowReport[]> {
    const resident = rows.filter(({ state }) => state === 'resident');
    const cold = rows.filter(({ state }) => state === 'cold');
    return [...(await this.#residentRows(resident)), ...(await this.#coldRows(cold))];
  }

  /** Only Drover: what others need for these is not in question. */
  async specialRows(rows: readonly SpecialRow[]): Promise<SpecialReport[]> {
    const { servers, rounds, warmSeconds, sizes, directory, note } = this.#options;
    const names = servers.filter((name) => name.startsWith('drover'));
    const figures = rows.map(() => ({}) as Partial<Record<ServerName, number[]>>);
    for (const name of rows.length === 0 ? [] : names) {
      const server = await this.#start(name, 'special', TEBIBYTE);
      try {
        for (const [index, row] of rows.entries()) {
          const measureOnce = async () => {
            await fill(server, sizes.resident, directory);
            await untilQuiet(server);
            const figure = await row.measure(server, directory);
            await flush(server);
            return figure;
          };
          if (warmSeconds > 0) await measureOnce();
          for (let round = 0; round < rounds; round += 1) {
            const figure = await measureOnce();
            note(`${row.name} ${name}: ${figure.toFixed(3)} ${row.unit}`);
            figures[index]![name] = [...(figures[index]![name] ?? []), figure];
          }
        }
      } finally {
        await server.end();
        this.#removeData('special');
      }
    }
    return rows.map((row, index) => ({ row, figures: figures[index]! }));
  }

  #removeData(group: string): void {
    fs.rmSync(path.join(this.#options.directory, group), { recursive: true, force: true });
  }

  #start(name: ServerName, group: string, diskBytes: number, cache?: string) {
    const { directory, profileDirectory } = this.#options;
    return startServer(name, {
      directory: path.join(directory, group, name),
      diskBytes,
      ...(cache === undefined ? {} : { cache }),
      ...(profileDirectory === undefined ? {} : { profileDirectory }),
    });
  }

  async #measure(server: RunningServer, row: Row, size: string, rounds: Rounds): Promise<void> {
    const { seconds, warmSeconds, directory, note } = this.#options;
    const isNew = row.state === 'cold' || rounds[server.name] === undefined;
    if (isNew) await warmUp(server, row, size, warmSeconds, directory);
    const result = await measure(server, row, size, seconds, directory);
    rounds[server.name] = [...(rounds[server.name] ?? []), result];
    this.commandLines[server.name] ??= server.commandLines;
    this.commandLines[`fio ${row.name}`] ??= [result.commandLine];
    note(`${row.name} ${server.name}: ${Math.round(result.requestsPerSecond)} requests/s`);
  }

  async #residentRows(rows: readonly Row[]): Promise<RowReport[]> {
    const { sizes, directory, servers: names, rounds: roundCount } = this.#options;
    const servers: RunningServer[] = [];
    try {
      for (const name of names.filter((server) =>
        rows.some((row) => this.#takesPart(row, server)),
      )) {
        const server = await this.#start(name, 'resident', RESIDENT_DISK_BYTES);
        servers.push(server);
        await fill(server, sizes.resident, directory);
      }
      for (const server of servers) await untilQuiet(server);
      const reports: RowReport[] = [];
      for (const row of rows) {
        const rounds: Rounds = {};
        for (let round = 0; round < roundCount; round += 1) {
          for (const server of servers) {
            if (this.#takesPart(row, server.name)) {
              await this.#measure(server, row, sizes.resident, rounds);
            }
          }
        }
        reports.push(this.#done(row, rounds));
      }
      return reports;
    } finally {
      for (const server of servers) await server.end();
      this.#removeData('resident');
    }
  }

  async #coldRows(rows: readonly Row[]): Promise<RowReport[]> {
    const { sizes, directory, servers, rounds: roundCount, pageCache } = this.#options;
    const start = (name: ServerName) =>
      this.#start(name, 'cold', bytesOf(sizes.cold), sizes.coldCache);
    const names = servers.filter((name) => rows.some((row) => this.#takesPart(row, name)));
    for (const name of names) {
      const server = await start(name);
      try {
        await fill(server, sizes.cold, directory);
        await untilQuiet(server);
      } finally {
        await server.end();
      }
    }
    const reports: RowReport[] = [];
    for (const row of rows) {
      const rounds: Rounds = {};
      for (let round = 0; round < roundCount; round += 1) {
        for (const name of names.filter((server) => this.#takesPart(row, server))) {
          await preparePageCache(pageCache, path.join(directory, 'cold', name));
          const server = await start(name);
          try {
            await untilQuiet(server);
            await this.#measure(server, row, sizes.cold, rounds);
          } finally {
            await server.end();
          }
        }
      }
      reports.push(this.#done(row, rounds));
    }
    this.#removeData('cold');
    return reports;
  }

  #done(row: Row, rounds: Rounds): RowReport {
    const report = { row, rounds };
    this.#options.rowDone?.(report);
    return report;
  }
}
