/**
 * One row against one server: state before, load, and what it cost.
 *
 * Owns: bringing the server into the row's state and reading CPU time and memory around the load.
 */
import { type FioResult, runFio } from './fio.ts';
import { cpuSeconds, residentBytes, runCommand } from './process.ts';
import type { COLD_SIZE, Row } from './rows.ts';
import type { RunningServer } from './servers.ts';

export interface Measurement extends FioResult {
  /** CPU seconds of all the server's processes for a million requests. */
  readonly cpuSecondsPerMillion: number;
  readonly residentBytes: number;
}

/** Waits until everything written is durable, so that no row pays for the one before. */
export async function flush(server: RunningServer): Promise<void> {
  const script = 'h.flush() if h.can_flush() else None';
  await runCommand('/usr/bin/python3', ['-m', 'nbd', '-u', server.uri, '-c', script]);
}

/** Writes every block that the rows of this state use. */
export async function fill(
  server: RunningServer,
  size: string | typeof COLD_SIZE,
  directory: string,
): Promise<void> {
  const options = { rw: 'write', bs: '1m', iodepth: 4, size, end_fsync: 1, refill_buffers: 1 };
  await runFio(server.uri, options, directory);
}

export async function measure(
  server: RunningServer,
  row: Row,
  seconds: number,
  directory: string,
): Promise<Measurement> {
  const before = server.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const timed =
    row.bound === 'time' ? { runtime: row.fio['runtime'] ?? seconds, time_based: 1 } : {};
  const result = await runFio(server.uri, { ...row.fio, ...timed, randrepeat: 0 }, directory);
  const used = server.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0) - before;
  const resident = server.pids.reduce((sum, pid) => sum + residentBytes(pid), 0);
  await flush(server);
  return {
    ...result,
    cpuSecondsPerMillion: (used / result.requests) * 1e6,
    residentBytes: resident,
  };
}
