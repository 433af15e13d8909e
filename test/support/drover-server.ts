/**
 * A real `drover serve` process for a test: own data directory, addresses chosen by the kernel.
 *
 * Owns: the process, until the test is over. Does not own the data directory, so that a test can
 * start again on what a killed server left.
 */
import { fileURLToPath } from 'node:url';
import { NODE_FLAGS } from '../../server/cli/node-flags.ts';
import { type ExitStatus, type RunningProgram, startProgram } from './child-process.ts';
import type { NbdAddress } from './nbd-client.ts';
import type { TestScope } from './temp-folder.ts';

export const MAIN = fileURLToPath(new URL('../../server/cli/main.ts', import.meta.url));

const START_LIMIT_MS = 30_000;
/** Stopping flushes everything; a busy machine needs its time. */
const STOP_LIMIT_MS = 60_000;

export interface ServeOptions {
  readonly dataDirectory: string;
  /** Where the unix socket goes; unix sockets spare the tests a TCP stack. */
  readonly socketPath: string;
  readonly volumes?: readonly string[];
  readonly cache?: string;
  /** More of the command line. */
  readonly args?: readonly string[];
}

export function serveArguments(options: ServeOptions): string[] {
  const volumes = options.volumes ?? ['disk0=1G'];
  return [
    ...NODE_FLAGS,
    MAIN,
    'serve',
    ...['--data', options.dataDirectory],
    ...['--nbd', `unix:${options.socketPath}`, '--nbd', '127.0.0.1:0', '--http', '127.0.0.1:0'],
    ...volumes.flatMap((volume) => ['--volume', volume]),
    ...['--cache', options.cache ?? '256M'],
    ...(options.args ?? []),
  ];
}

export class DroverServer {
  readonly program: RunningProgram;
  readonly socketPath: string;
  readonly tcpPort: number;
  readonly httpUrl: string;

  /** Starts a server and waits until it says that it is ready. */
  static async start(t: TestScope, options: ServeOptions): Promise<DroverServer> {
    const program = startProgram(t, process.execPath, serveArguments(options));
    t.teardown(() => {
      // One that a test killed or stopped in order has nothing to tell.
      const ended = program.status;
      const isTelling = ended === undefined || (ended.code !== null && ended.code !== 0);
      if (t.passed === false && isTelling) t.log(program.failure('its output').message);
    });
    await program.printed(/drover is ready/, START_LIMIT_MS);
    return new DroverServer(program, options.socketPath);
  }

  private constructor(program: RunningProgram, socketPath: string) {
    const nbd = program.stdout.match(/nbd:\/\/127\.0\.0\.1:(\d+)/);
    const http = program.stdout.match(/http:\/\/127\.0\.0\.1:\d+/);
    if (nbd === null || http === null) throw program.failure('did not print its addresses');
    this.program = program;
    this.socketPath = socketPath;
    this.tcpPort = Number(nbd[1]);
    this.httpUrl = http[0];
  }

  get unixAddress(): NbdAddress {
    return { kind: 'unix', path: this.socketPath };
  }

  get tcpAddress(): NbdAddress {
    return { kind: 'tcp', host: '127.0.0.1', port: this.tcpPort };
  }

  /** The URI of one export, as every NBD tool takes it. */
  uri(exportName = 'disk0'): string {
    return `nbd+unix:///${exportName}?socket=${this.socketPath}`;
  }

  /** Ends the process as a crash would: nothing is flushed. */
  async kill(): Promise<void> {
    this.program.kill('SIGKILL');
    await this.program.ended(STOP_LIMIT_MS);
  }

  /** Ends the process as an operator would; throws unless it exits with 0. */
  async stop(): Promise<void> {
    this.program.kill('SIGTERM');
    const status: ExitStatus = await this.program.ended(STOP_LIMIT_MS);
    if (status.code !== 0) throw this.program.failure('did not stop cleanly');
  }
}
