/**
 * The servers that are compared: how each is started, reached and ended.
 *
 * Every server listens on TCP on loopback, so that each row pays the same for its socket. Drover's
 * own starts are in `drover-servers.ts`.
 */
import fs from 'node:fs';
import path from 'node:path';
import { startCluster, startEmbedded } from './drover-servers.ts';
import {
  freePort,
  type RunningProcess,
  START_LIMIT_MS,
  startProcess,
  waitForPort,
} from './process.ts';

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

export async function startServer(name: ServerName, options: StartOptions): Promise<RunningServer> {
  const volumes = [`disk0=${options.diskBytes}`];
  fs.mkdirSync(options.directory, { recursive: true });
  switch (name) {
    case 'nbdkit-memory':
      return startNbdkit(name, ['memory', String(options.diskBytes)], options);
    case 'nbdkit-file':
      return startNbdkit(name, ['file', rawFile(options)], options);
    case 'qemu-nbd':
      return startQemuNbd(options);
    case 'drover-embedded':
      return startEmbedded({ ...options, volumes, copies: 3 });
    case 'drover-cluster':
      return startCluster({ ...options, volumes });
  }
}
