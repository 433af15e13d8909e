/**
 * Running one `fio` job over NBD and reading what it measured.
 */
import fs from 'node:fs';
import path from 'node:path';
import { commandLineOf, runCommand } from './process.ts';

/** What one run of `fio` measured; latencies are of whole requests, in microseconds. */
export interface FioResult {
  readonly requestsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly requests: number;
  readonly seconds: number;
  readonly meanUs: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly commandLine: string;
}

interface FioDirection {
  readonly total_ios: number;
  readonly io_bytes: number;
  readonly runtime: number;
  readonly clat_ns: { readonly mean: number; readonly percentile?: Record<string, number> };
}

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly read: FioDirection;
    readonly write: FioDirection;
    readonly job_runtime: number;
  }[];
}

/** `options` are fio's own, without the dashes; the order of keys is kept. */
export async function runFio(
  uri: string,
  options: Readonly<Record<string, string | number>>,
  directory: string,
): Promise<FioResult> {
  const outputFile = path.join(directory, 'fio.json');
  fs.rmSync(outputFile, { force: true });
  const shown = [
    '--name=row',
    '--ioengine=nbd',
    `--uri=${uri}`,
    ...Object.entries(options).map(([key, value]) => `--${key}=${value}`),
    '--group_reporting=1',
  ];
  await runCommand('fio', [...shown, '--output-format=json', `--output=${outputFile}`]);
  const text = fs.readFileSync(outputFile, 'utf8');
  const report = JSON.parse(text.slice(text.indexOf('{'))) as FioReport;
  const job = report.jobs[0];
  if (job === undefined || job.error !== 0) throw new Error(`fio failed:\n${text}`);
  const direction = job.read.total_ios > 0 ? job.read : job.write;
  // A job that syncs at its end has done its work only then.
  const seconds = ('end_fsync' in options ? job.job_runtime : direction.runtime) / 1000;
  return {
    requestsPerSecond: direction.total_ios / seconds,
    bytesPerSecond: direction.io_bytes / seconds,
    requests: direction.total_ios,
    seconds,
    meanUs: direction.clat_ns.mean / 1000,
    p99Us: (direction.clat_ns.percentile?.['99.000000'] ?? 0) / 1000,
    p999Us: (direction.clat_ns.percentile?.['99.900000'] ?? 0) / 1000,
    commandLine: commandLineOf('fio', shown),
  };
}
