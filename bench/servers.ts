/**
 * The servers that are compared: how each is started, reached and ended.
 *
 * Every server listens on TCP on loopback, so that each row pays the same for its socket. Drover
 * runs as its users start it: nothing is switched off, no option differs but places and ports,
 * and in the cold rows the size of its cache.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NODE_FLAGS } from '../server/cli/node-flags.ts';
import { freePort, type RunningProcess, startProcess, waitForPort } from './process.ts';

export type ServerName =
  | 'nbdkit-memory'
  | 'nbdkit-file'
  | 'qemu-nbd'
  | 'drover-embedded'
  | 'drover-cluster';

export interface RunningServer {
  readonly name: ServerName;
  readonly uri: string;
  /** The processes whose CPU time and memory count. */
  readonly pids: readonly number[];
  readonly commandLines: readonly string[];
  end(): Promise<void>;
}

export interface StartOptions {
  /** Kept between starts of one server, so that a cold start finds the data. */
  readonly directory: string;
  readonly diskBytes: number;
  /** The size of Drover's cache; its default without it. */
  readonly cache?: string;
  /** Where V8 leaves CPU profiles of Drover's processes. */
  readonly profileDirectory?: string;
}

export const SERVER_NAMES: readonly ServerName[] = [
  'nbdkit-memory',
  'nbdkit-file',
  'qemu-nbd',
  'drover-embedded',
  'drover-cluster',
];

const START_LIMIT_MS = 30_000;
const DROVER = path.join(import.meta.dirname, '..', 'server', 'cli', 'main.ts');

function single(
  name: ServerName,
  process_: RunningProcess,
  port: number,
  exportName: string,
): RunningServer {
  return {
    name,
    uri: `nbd://127.0.0.1:${port}/${exportName}`,
    pids: [process_.pid],
    commandLines: [process_.commandLine],
    end: () => process_.end('SIGTERM'),
  };
}

/** A sparse file of the disk's size, made once. */
function rawFile(options: StartOptions): string {
  const file = path.join(options.directory, 'disk.raw');
  const fd = fs.openSync(file, 'a');
  fs.ftruncateSync(fd, options.diskBytes);
  fs.closeSync(fd);
  return file;
}

async function startNbdkit(name: ServerName, plugin: readonly string[], options: StartOptions) {
  const port = await freePort();
  const args = ['--foreground', '--ipaddr=127.0.0.1', `--port=${port}`, ...plugin];
  const running = startProcess('nbdkit', args, { logFile: path.join(options.directory, 'log') });
  await waitForPort(port, START_LIMIT_MS);
  return single(name, running, port, '');
}

async function startQemuNbd(options: StartOptions): Promise<RunningServer> {
  const port = await freePort();
  const args = ['--format=raw', '--cache=writeback', '--persistent', '--shared=16'];
  const place = ['--bind=127.0.0.1', `--port=${port}`, '--export-name=disk0', rawFile(options)];
  const running = startProcess('qemu-nbd', [...args, ...place], {
    logFile: path.join(options.directory, 'log'),
  });
  await waitForPort(port, START_LIMIT_MS);
  return single('qemu-nbd', running, port, 'disk0');
}

function profileArguments(options: StartOptions): string[] {
  return options.profileDirectory === undefined
    ? []
    : ['--cpu-prof', `--cpu-prof-dir=${options.profileDirectory}`];
}

async function startEmbedded(options: StartOptions): Promise<RunningServer> {
  const port = await freePort();
  const httpPort = await freePort();
  const data = [1, 2, 3].flatMap((n) => ['--data', path.join(options.directory, `data${n}`)]);
  const args = [
    ...NODE_FLAGS,
    ...profileArguments(options),
    DROVER,
    'serve',
    ...data,
    ...['--nbd', `127.0.0.1:${port}`, '--http', `127.0.0.1:${httpPort}`],
    ...['--volume', `disk0=${options.diskBytes}`],
    ...(options.cache === undefined ? [] : ['--cache', options.cache]),
  ];
  const running = startProcess(process.execPath, args, {
    logFile: path.join(options.directory, 'log'),
  });
  await waitForPort(port, START_LIMIT_MS);
  return single('drover-embedded', running, port, 'disk0');
}

interface ClusterFile {
  readonly processes: readonly {
    readonly name: string;
    readonly pid: number;
    readonly nbd?: string;
    readonly commandLine: string;
  }[];
}

/** `npm run cluster`; its processes are known by `cluster.json`. */
async function startCluster(options: StartOptions): Promise<RunningServer> {
  const directory = path.join(options.directory, 'cluster');
  const portBase = await freePort();
  const clusterFile = path.join(directory, 'cluster.json');
  fs.rmSync(clusterFile, { force: true });
  const script = path.join(import.meta.dirname, '..', 'scripts', 'cluster.ts');
  const args = [script, '--dir', directory, '--port-base', String(portBase)];
  const environment = {
    ...(options.cache === undefined ? {} : { DROVER_CACHE: options.cache }),
    ...(options.profileDirectory === undefined
      ? {}
      : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${options.profileDirectory}` }),
  };
  const running = startProcess(
    process.execPath,
    [...args, '--volume', `disk0=${options.diskBytes}`],
    { logFile: path.join(options.directory, 'log'), environment },
  );
  for (let waitedMs = 0; !fs.existsSync(clusterFile); waitedMs += 50) {
    if (waitedMs > START_LIMIT_MS) throw new Error(`${running.commandLine} did not become ready`);
    await sleep(50);
  }
  const cluster = JSON.parse(fs.readFileSync(clusterFile, 'utf8')) as ClusterFile;
  const drover = cluster.processes.filter(({ name }) => name !== 'etcd' && name !== 'gateway2');
  const nbd = cluster.processes.find(({ name }) => name === 'gateway1')?.nbd;
  if (nbd === undefined) throw new Error(`${clusterFile} names no NBD address of gateway1`);
  await waitForPort(Number(nbd.slice(nbd.lastIndexOf(':') + 1)), START_LIMIT_MS);
  return {
    name: 'drover-cluster',
    uri: `nbd://${nbd}/disk0`,
    pids: drover.map(({ pid }) => pid),
    commandLines: [running.commandLine, ...drover.map(({ commandLine }) => commandLine)],
    end: () => running.end('SIGTERM'),
  };
}

export async function startServer(name: ServerName, options: StartOptions): Promise<RunningServer> {
  fs.mkdirSync(options.directory, { recursive: true });
  switch (name) {
    case 'nbdkit-memory':
      return startNbdkit(name, ['memory', String(options.diskBytes)], options);
    case 'nbdkit-file':
      return startNbdkit(name, ['file', rawFile(options)], options);
    case 'qemu-nbd':
      return startQemuNbd(options);
    case 'drover-embedded':
      return startEmbedded(options);
    case 'drover-cluster':
      return startCluster(options);
  }
}
