/**
 * Drover as its users start it: `npm start`'s process, and `npm run cluster`'s.
 *
 * Nothing is switched off; no option differs but places, ports and volumes, and what a row is about
 * (the cold rows' cache, the cleaning's capacity).
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NODE_FLAGS } from '../server/cli/node-flags.ts';
import {
  freePort,
  freePortRange,
  type RunningProcess,
  START_LIMIT_MS,
  startProcess,
  waitForPort,
} from './process.ts';
import type { RunningServer } from './servers.ts';

export interface DroverStartOptions {
  /** Kept between starts, so that the next one finds the data. */
  readonly directory: string;
  /** `NAME=SIZE` each; the first one is what `uri` leads to. */
  readonly volumes: readonly string[];
  /** The size of the cache; its default without it. */
  readonly cache?: string;
  /** Where V8 leaves CPU profiles. */
  readonly profileDirectory?: string;
}

export interface EmbeddedStartOptions extends DroverStartOptions {
  /** One data directory for each. */
  readonly copies: number;
}

export interface ClusterStartOptions extends DroverStartOptions {
  /** What the data of each store may take. */
  readonly capacity?: string;
}

export interface RunningDrover extends RunningServer {
  /** The processes by what they do. */
  readonly roles: readonly { readonly role: string; readonly pids: readonly number[] }[];
  /** What the process that serves NBD answers HTTP on, and the stores. */
  readonly httpUrl: string;
  readonly nodeHttpUrls: readonly string[];
  /** Where each node's engine has its directory. */
  readonly nodeDirectories: readonly string[];
  uriOf(volume: string): string;
}

export interface RunningEmbedded extends RunningDrover {
  /** Without a word, as a power cut would. */
  kill(): Promise<void>;
}

const MAIN = path.join(import.meta.dirname, '..', 'server', 'cli', 'main.ts');
const CLUSTER = path.join(import.meta.dirname, '..', 'scripts', 'cluster.ts');
/** As many as `npm run cluster` takes. */
const CLUSTER_PORTS = 12;
const POLL_MS = 20;

function firstVolume(volumes: readonly string[]): string {
  return volumes[0]!.split('=')[0]!;
}

function volumeArguments(volumes: readonly string[]): string[] {
  return volumes.flatMap((volume) => ['--volume', volume]);
}

function notReady(running: RunningProcess, logFile: string): Error {
  const tail = fs.readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
  return new Error(`${running.commandLine} did not become ready; the end of its log:\n${tail}`);
}

/** Ends the process if `isReady` does not become true in time, or the process ends before. */
async function untilReady(
  running: RunningProcess,
  logFile: string,
  isReady: () => boolean | Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + START_LIMIT_MS;
  while (!(await isReady())) {
    if (running.hasEnded() || performance.now() > endMs) {
      await running.end('SIGTERM');
      throw notReady(running, logFile);
    }
    await sleep(POLL_MS);
  }
}

function answersReady(httpUrl: string): Promise<boolean> {
  return fetch(`${httpUrl}/readyz`).then(
    (response) => response.ok,
    () => false,
  );
}

/** `npm start`: one process, a data directory for each copy. */
export async function startEmbedded(options: EmbeddedStartOptions): Promise<RunningEmbedded> {
  const { directory, volumes, copies, cache, profileDirectory } = options;
  fs.mkdirSync(directory, { recursive: true });
  const port = await freePort();
  const httpPort = await freePort();
  const data = Array.from({ length: copies }, (_, n) => path.join(directory, `data${n + 1}`));
  const args = [
    ...NODE_FLAGS,
    ...(profileDirectory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`]),
    ...[MAIN, 'serve', ...data.flatMap((place) => ['--data', place])],
    ...['--nbd', `127.0.0.1:${port}`, '--http', `127.0.0.1:${httpPort}`],
    ...volumeArguments(volumes),
    ...(cache === undefined ? [] : ['--cache', cache]),
  ];
  const logFile = path.join(directory, 'log');
  const running = startProcess(process.execPath, args, { logFile });
  const httpUrl = `http://127.0.0.1:${httpPort}`;
  await untilReady(running, logFile, () => answersReady(httpUrl));
  const uriOf = (volume: string) => `nbd://127.0.0.1:${port}/${volume}`;
  return {
    name: 'drover-embedded',
    uri: uriOf(firstVolume(volumes)),
    pids: [running.pid],
    roles: [{ role: 'process', pids: [running.pid] }],
    commandLines: [running.commandLine],
    httpUrl,
    nodeHttpUrls: [httpUrl],
    nodeDirectories: data.map((place) => path.join(place, 'node')),
    uriOf,
    end: () => running.end('SIGTERM'),
    kill: () => running.end('SIGKILL'),
  };
}

interface ClusterFile {
  readonly processes: readonly {
    readonly name: string;
    readonly pid: number;
    readonly addresses: Readonly<Record<string, string>>;
    readonly commandLine: string;
  }[];
}

/** `npm run cluster`; its processes are known by `cluster.json`. */
export async function startCluster(options: ClusterStartOptions): Promise<RunningDrover> {
  const { volumes, cache, capacity, profileDirectory } = options;
  const directory = path.join(options.directory, 'cluster');
  fs.mkdirSync(directory, { recursive: true });
  const portBase = await freePortRange(CLUSTER_PORTS);
  const clusterFile = path.join(directory, 'cluster.json');
  fs.rmSync(clusterFile, { force: true });
  const args = [CLUSTER, '--dir', directory, '--port-base', String(portBase)];
  const environment = {
    ...(cache === undefined ? {} : { DROVER_CACHE: cache }),
    ...(capacity === undefined ? {} : { DROVER_CAPACITY: capacity }),
    ...(profileDirectory === undefined
      ? {}
      : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profileDirectory}` }),
  };
  const logFile = path.join(options.directory, 'log');
  const running = startProcess(process.execPath, [...args, ...volumeArguments(volumes)], {
    logFile,
    environment,
  });
  await untilReady(running, logFile, () => fs.existsSync(clusterFile));
  const { processes } = JSON.parse(fs.readFileSync(clusterFile, 'utf8')) as ClusterFile;
  const gateway = processes.find(({ name }) => name === 'gateway1');
  const stores = processes.filter(({ name }) => name.startsWith('store'));
  const nbd = gateway?.addresses['nbd'];
  if (gateway === undefined || nbd === undefined) {
    throw new Error(`${clusterFile} names no NBD address of gateway1`);
  }
  await waitForPort(Number(nbd.slice(nbd.lastIndexOf(':') + 1)), START_LIMIT_MS);
  const measured = [...stores, gateway];
  const uriOf = (volume: string) => `nbd://${nbd}/${volume}`;
  return {
    name: 'drover-cluster',
    uri: uriOf(firstVolume(volumes)),
    pids: measured.map(({ pid }) => pid),
    roles: [
      { role: 'gateway', pids: [gateway.pid] },
      { role: 'nodes', pids: stores.map(({ pid }) => pid) },
    ],
    commandLines: [running.commandLine, ...measured.map(({ commandLine }) => commandLine)],
    httpUrl: `http://${gateway.addresses['http']}`,
    nodeHttpUrls: stores.map(({ addresses }) => `http://${addresses['http']}`),
    nodeDirectories: stores.map(({ name }) => path.join(directory, name, 'node')),
    uriOf,
    end: () => running.end('SIGTERM'),
  };
}
