/**
 * `npm run cluster`: etcd, three store nodes and two gateways as processes on loopback.
 *
 * Owns: starting them, `cluster.json`, and ending them when it is told to end. It stays in the
 * foreground and starts nothing again by itself: a process that is killed stays dead until
 * `--start NAME`, so that failures can be watched.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { clusterPlan, PORT_BASE_DEFAULT, type ProcessPlan } from './cluster-layout.ts';

const READY_LIMIT_MS = 30_000;
/** A gateway flushes everything before it ends. */
const END_LIMIT_MS = 120_000;
const POLL_MS = 50;

interface ProcessEntry {
  readonly name: string;
  readonly pid: number;
  readonly addresses: Readonly<Record<string, string>>;
  /** As `addresses.nbd`, for a gateway. */
  readonly nbd?: string;
  readonly commandLine: string;
}

interface ClusterFile {
  readonly directory: string;
  readonly portBase: number;
  readonly volumes: readonly string[];
  readonly processes: readonly ProcessEntry[];
}

function clusterFile(directory: string): string {
  return path.join(directory, 'cluster.json');
}

function readCluster(directory: string): ClusterFile {
  return JSON.parse(fs.readFileSync(clusterFile(directory), 'utf8')) as ClusterFile;
}

function writeCluster(cluster: ClusterFile): void {
  const file = clusterFile(cluster.directory);
  fs.writeFileSync(`${file}.new`, `${JSON.stringify(cluster, null, 2)}\n`);
  fs.renameSync(`${file}.new`, file);
}

/** False when the pid is gone, a zombie, or belongs to another command by now. */
function isRunning(entry: ProcessEntry): boolean {
  try {
    const command = fs.readFileSync(`/proc/${entry.pid}/cmdline`, 'utf8');
    return command.split('\0').join(' ').trim() === entry.commandLine;
  } catch {
    return false;
  }
}

async function waitUntilReady(plan: ProcessPlan, entry: ProcessEntry, log: string): Promise<void> {
  for (let waitedMs = 0; waitedMs < READY_LIMIT_MS; waitedMs += POLL_MS) {
    const isReady = await fetch(plan.readyUrl).then(
      (response) => response.ok,
      () => false,
    );
    if (isReady) return;
    if (waitedMs > 1000 && !isRunning(entry)) break;
    await sleep(POLL_MS);
  }
  const tail = fs.readFileSync(log, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
  throw new Error(`${plan.name} did not become ready; the end of ${log}:\n${tail}`);
}

/** Starts a process that outlives this one, and waits until it is ready. */
async function startProcess(plan: ProcessPlan, directory: string): Promise<ProcessEntry> {
  const log = path.join(directory, `${plan.name}.log`);
  const fd = fs.openSync(log, 'a');
  const child = spawn(plan.command, plan.args, { stdio: ['ignore', fd, fd], detached: true });
  fs.closeSync(fd);
  const pid = await new Promise<number>((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid!));
    child.once('error', (error) =>
      reject(
        new Error(`${plan.command} could not be started (${error.message}); is it installed?`),
      ),
    );
  });
  child.unref();
  const entry: ProcessEntry = {
    name: plan.name,
    pid,
    addresses: plan.addresses,
    ...(plan.addresses['nbd'] === undefined ? {} : { nbd: plan.addresses['nbd'] }),
    commandLine: [plan.command, ...plan.args].join(' '),
  };
  try {
    await waitUntilReady(plan, entry, log);
  } catch (error) {
    if (isRunning(entry)) process.kill(pid, 'SIGKILL');
    throw error;
  }
  return entry;
}

async function endProcess(entry: ProcessEntry): Promise<void> {
  if (!isRunning(entry)) return;
  process.kill(entry.pid, 'SIGTERM');
  // One that is stopped takes the signal only when it goes on.
  process.kill(entry.pid, 'SIGCONT');
  for (let waitedMs = 0; isRunning(entry); waitedMs += POLL_MS) {
    if (waitedMs > END_LIMIT_MS) throw new Error(`${entry.name} (pid ${entry.pid}) does not end`);
    await sleep(POLL_MS);
  }
}

/** Gateways first, etcd last: each flushes into what is behind it. */
async function endAll(processes: readonly ProcessEntry[]): Promise<void> {
  for (const entry of processes.toReversed()) await endProcess(entry);
}

function printCluster(cluster: ClusterFile): void {
  const name = cluster.volumes[0]?.split('=')[0];
  const width = Math.max(...cluster.processes.map((entry) => entry.name.length));
  const lines = cluster.processes.map(
    (entry) =>
      `  ${entry.name.padEnd(width)}  pid ${String(entry.pid).padEnd(7)}  ${Object.entries(
        entry.addresses,
      )
        .map(([purpose, address]) => `${purpose} ${address}`)
        .join(', ')}`,
  );
  const uris = cluster.processes.flatMap((entry) =>
    entry.nbd === undefined ? [] : [`  nbdinfo nbd://${entry.nbd}/${name}`],
  );
  process.stdout.write(
    [
      'The cluster is ready.',
      ...lines,
      '',
      'Look at the disk, or attach it (a volume is written through one gateway at a time):',
      ...uris,
      `  nbd-client -N ${name} ${cluster.processes.find((entry) => entry.nbd)?.nbd?.replace(':', ' ')} /dev/nbd0`,
      '',
      `Logs and data are in ${cluster.directory}, the processes in ${clusterFile(cluster.directory)}.`,
      'Kill any of the pids above to see what happens, and start it again with',
      `  npm run cluster -- --dir ${cluster.directory} --start NAME`,
      'Ctrl-C ends all of them.',
      '',
    ].join('\n'),
  );
}

async function startAgain(directory: string, name: string): Promise<void> {
  const cluster = readCluster(directory);
  const plan = clusterPlan(cluster).find((candidate) => candidate.name === name);
  if (plan === undefined) {
    const names = cluster.processes.map((entry) => entry.name).join(', ');
    throw new Error(`there is no process '${name}'; there are ${names}`);
  }
  const old = cluster.processes.find((entry) => entry.name === name);
  if (old !== undefined && isRunning(old)) throw new Error(`${name} runs already (pid ${old.pid})`);
  const entry = await startProcess(plan, cluster.directory);
  // Read again: another process may have been started meanwhile.
  const now = readCluster(directory);
  writeCluster({
    ...now,
    processes: now.processes.map((other) => (other.name === name ? entry : other)),
  });
  process.stdout.write(`${name} runs again, pid ${entry.pid}\n`);
}

async function runCluster(directory: string, portBase: number, volumes: string[]): Promise<void> {
  fs.mkdirSync(directory, { recursive: true });
  const started: ProcessEntry[] = [];
  const cluster = () => ({ directory, portBase, volumes, processes: started });
  try {
    for (const plan of clusterPlan({ directory, portBase, volumes })) {
      started.push(await startProcess(plan, directory));
    }
  } catch (error) {
    await endAll(started);
    throw error;
  }
  writeCluster(cluster());
  printCluster(cluster());
  await new Promise<void>((resolve) => {
    // Nothing else keeps this process alive: its children are detached.
    const keepAlive = setInterval(() => undefined, 60_000);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        clearInterval(keepAlive);
        resolve();
      });
    }
  });
  await endAll(readCluster(directory).processes);
  fs.rmSync(clusterFile(directory));
}

function portBaseOf(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_524) {
    throw new Error(`--port-base '${text}': a number from 1 to 65524 is allowed`);
  }
  return port;
}

const command = new Command('cluster')
  .description('Runs etcd, three store nodes and two gateways on loopback, in the foreground.')
  .option('--dir <directory>', 'data, logs and cluster.json', 'drover-cluster')
  .option('--port-base <port>', 'the first of twelve ports', portBaseOf, PORT_BASE_DEFAULT)
  .option('--volume <name=size...>', 'volumes to make if they are not there')
  .option('--start <name>', 'start one process again that was killed, and return')
  .action(async (options: { dir: string; portBase: number; volume?: string[]; start?: string }) => {
    const directory = path.resolve(options.dir);
    if (options.start === undefined) {
      await runCluster(directory, options.portBase, options.volume ?? ['disk0=10G']);
    } else {
      await startAgain(directory, options.start);
    }
  });

try {
  await command.parseAsync();
} catch (error) {
  process.stderr.write(`cluster: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
