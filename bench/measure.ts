/**
 * One row against one server: state before, load, and what it cost.
 *
 * Owns: bringing the server into the row's state and reading CPU time and memory around the load.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type FioOptions, type FioResult, runFio } from './fio.ts';
import { cpuSeconds, memoryOf, runCommand } from './process.ts';
import type { Row } from './rows.ts';
import type { RunningServer } from './servers.ts';

export interface Measurement extends FioResult {
  /** CPU seconds of all the server's processes for a million requests. */
  readonly cpuSecondsPerMillion: number;
  readonly residentBytes: number;
}

const QUIET_WINDOW_MS = 300;
/** CPU time in the window that an idle server may use: beats, timers, and the clock's own tick. */
const QUIET_CPU_SECONDS_MAX = 0.03;
const QUIET_LIMIT_MS = 15_000;

function cpuSecondsOf(server: RunningServer): number {
  return server.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
}

/** Waits until everything written is durable, so that no row pays for the one before. */
export async function flush(server: Pick<RunningServer, 'uri'>): Promise<void> {
  const script = 'h.flush() if h.can_flush() else None';
  await runCommand('/usr/bin/python3', ['-m', 'nbd', '-u', server.uri, '-c', script]);
}

/**
 * Waits until the server does nothing: what it does in the background after a row (cleaning,
 * checkpoints) must not be paid by the server that is measured next. Bounded.
 */
export async function untilQuiet(server: RunningServer): Promise<void> {
  for (let waitedMs = 0; waitedMs < QUIET_LIMIT_MS; waitedMs += QUIET_WINDOW_MS) {
    const before = cpuSecondsOf(server);
    await sleep(QUIET_WINDOW_MS);
    if (cpuSecondsOf(server) - before <= QUIET_CPU_SECONDS_MAX) return;
  }
}

/** Writes every block that the rows of this state use. */
export async function fill(server: RunningServer, size: string, directory: string): Promise<void> {
  const options = { rw: 'write', bs: '1m', iodepth: 4, size, end_fsync: 1, refill_buffers: 1 };
  await runFio(server.uri, options, directory);
}

function jobOf(row: Row, size: string): FioOptions {
  return { size, ...row.fio, randrepeat: 0 };
}

/**
 * Runs the row's job for so long and waits until what it wrote is durable, so that a run does not
 * measure compilers and first touches of memory.
 */
export async function warmUp(
  server: RunningServer,
  row: Row,
  size: string,
  seconds: number,
  directory: string,
): Promise<void> {
  if (row.bound === 'size' || seconds === 0) return;
  await runFio(server.uri, { ...jobOf(row, size), runtime: seconds, time_based: 1 }, directory);
  await flush(server);
  await untilQuiet(server);
}

/** `size` is that of the row's data, `seconds` the time of a row that names none. */
export async function measure(
  server: RunningServer,
  row: Row,
  size: string,
  seconds: number,
  directory: string,
): Promise<Measurement> {
  const job = jobOf(row, size);
  const timed = (runtime: string | number) => ({ ...job, runtime, time_based: 1 });
  if (row.leadSeconds !== undefined) await runFio(server.uri, timed(row.leadSeconds), directory);
  const before = cpuSecondsOf(server);
  const measured = row.bound === 'time' ? timed(row.fio['runtime'] ?? seconds) : job;
  const result = await runFio(server.uri, measured, directory);
  const used = cpuSecondsOf(server) - before;
  const { residentBytes } = memoryOf(server.pids);
  await flush(server);
  await untilQuiet(server);
  return { ...result, cpuSecondsPerMillion: (used / result.requests) * 1e6, residentBytes };
}
