/**
 * Running one `fio` job over NBD and reading what it measured.
 */
import fs from 'node:fs';
import path from 'node:path';
import { commandLineOf, runCommand } from './process.ts';

export type FioOptions = Readonly<Record<string, string | number>>;

/**
 * What one run of `fio` measured. Latencies are in microseconds, of whole requests; where the job
 * syncs after its writes, of the syncs, which carry the cost.
 */
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

interface FioLatency {
  readonly mean: number;
  readonly percentile?: Record<string, number>;
}

interface FioDirection {
  readonly total_ios: number;
  readonly io_bytes: number;
  readonly runtime: number;
  readonly clat_ns: FioLatency;
}

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly read: FioDirection;
    readonly write: FioDirection;
    readonly sync: { readonly total_ios: number; readonly lat_ns: FioLatency };
    readonly job_runtime: number;
  }[];
}

/** `options` are fio's own, without the dashes; the order of keys is kept. A job for each address. */
export async function runFio(
  uris: string | readonly string[],
  options: FioOptions,
  directory: string,
): Promise<FioResult> {
  const outputFile = path.join(directory, 'fio.json');
  fs.rmSync(outputFile, { force: true });
  const shown = [
    '--ioengine=nbd',
    ...Object.entries(options).map(([key, value]) => `--${key}=${value}`),
    '--group_reporting=1',
    ...[uris].flat().flatMap((uri, n) => [`--name=row${n === 0 ? '' : n}`, `--uri=${uri}`]),
  ];
  await runCommand('fio', [...shown, '--output-format=json', `--output=${outputFile}`]);
  const text = fs.readFileSync(outputFile, 'utf8');
  const report = JSON.parse(text.slice(text.indexOf('{'))) as FioReport;
  const job = report.jobs[0];
  if (job === undefined || job.error !== 0) throw new Error(`fio failed:\n${text}`);
  const direction = job.read.total_ios > 0 ? job.read : job.write;
  if (direction.total_ios === 0) throw new Error(`fio did nothing:\n${text}`);
  // A job that syncs at its end has done its work only then.
  const seconds = ('end_fsync' in options ? job.job_runtime : direction.runtime) / 1000;
  const latency = 'fsync' in options ? job.sync.lat_ns : direction.clat_ns;
  return {
    requestsPerSecond: direction.total_ios / seconds,
    bytesPerSecond: direction.io_bytes / seconds,
    requests: direction.total_ios,
    seconds,
    meanUs: latency.mean / 1000,
    p99Us: (latency.percentile?.['99.000000'] ?? 0) / 1000,
    p999Us: (latency.percentile?.['99.900000'] ?? 0) / 1000,
    commandLine: commandLineOf('fio', shown),
  };
}
