/**
 * Starting, watching and ending the processes that a benchmark compares.
 *
 * Owns: child processes, their CPU time and memory as /proc tells them.
 * Does not own: what is measured against them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** USER_HZ of Linux: the unit of the CPU times in /proc/PID/stat. */
const CLOCK_TICKS_PER_SECOND = 100;

/** A server that is not ready after this has failed. */
export const START_LIMIT_MS = 60_000;

export interface RunningProcess {
  readonly pid: number;
  readonly commandLine: string;
  hasEnded(): boolean;
  readonly ended: Promise<void>;
  /** Sends `signal` and waits until the process is gone. */
  end(signal: NodeJS.Signals): Promise<void>;
}

/** Servers that were started here and have not ended. */
const servers = new Set<RunningProcess>();

/** When this process is told to end, its servers end first, and `finish` runs last. */
export function endServersOnSignals(finish: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, async () => {
      await Promise.all([...servers].map((server) => server.end('SIGTERM')));
      finish();
      process.exit(1);
    });
  }
}

export function commandLineOf(command: string, args: readonly string[]): string {
  return [command, ...args]
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`))
    .join(' ');
}

export function startProcess(
  command: string,
  args: readonly string[],
  options: {
    readonly logFile: string;
    readonly environment?: NodeJS.ProcessEnv;
    readonly cwd?: string;
  },
): RunningProcess {
  const log = fs.openSync(options.logFile, 'a');
  const child: ChildProcess = spawn(command, args, {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...options.environment },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  fs.closeSync(log);
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} could not be started; is it installed?`);
  const running: RunningProcess = {
    pid,
    commandLine: commandLineOf(command, args),
    hasEnded,
    ended: gone,
    async end(signal) {
      if (!hasEnded()) child.kill(signal);
      await gone;
    },
  };
  servers.add(running);
  gone.then(() => servers.delete(running));
  return running;
}

/** Runs a command to its end; rejects with its output if it fails. */
export function runCommand(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${commandLineOf(command, args)} ended with ${code}:\n${output}`));
    });
  });
}

/** Listens on a loopback port (0: any) for a moment; the port, or undefined if it is taken. */
function tryPort(wanted: number): Promise<number | undefined> {
  const server = net.createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen(wanted, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

export async function freePort(): Promise<number> {
  const port = await tryPort(0);
  if (port === undefined) throw new Error('no port of the loopback address is free');
  return port;
}

/** Below those that the kernel gives to outgoing connections. */
const RANGE_PORT_MIN = 20_000;
const RANGE_PORT_MAX = 32_000;

/** The first of so many neighbouring free ports. */
export async function freePortRange(count: number): Promise<number> {
  const places = Math.floor((RANGE_PORT_MAX - RANGE_PORT_MIN) / count);
  for (;;) {
    const first = RANGE_PORT_MIN + count * Math.floor(Math.random() * places);
    const ports = Array.from({ length: count }, (_, n) => tryPort(first + n));
    if ((await Promise.all(ports)).every((port) => port !== undefined)) return first;
  }
}

/** Waits until something accepts connections on a loopback port. */
export async function waitForPort(port: number, limitMs: number): Promise<void> {
  const attempts = Math.ceil(limitMs / 50);
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (isOpen) return;
    await sleep(50);
  }
  throw new Error(`nothing answered on port ${port} within ${limitMs} ms`);
}

/** CPU seconds, user and system, that a process has used so far. */
export function cpuSeconds(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field, the command's name, may hold spaces; count from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

export interface ProcessMemory {
  /** All that is in memory, pages of mapped files too: the kernel takes those back at need. */
  readonly residentBytes: number;
  /** Of these, what belongs to the process alone. */
  readonly anonymousBytes: number;
}

/** Of several processes together. */
export function memoryOf(pids: readonly number[]): ProcessMemory {
  const of = (status: string, field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  let residentBytes = 0;
  let anonymousBytes = 0;
  for (const pid of pids) {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
    residentBytes += of(status, 'VmRSS');
    anonymousBytes += of(status, 'RssAnon');
  }
  return { residentBytes, anonymousBytes };
}
