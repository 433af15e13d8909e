/**
 * One `drover store` process that a test can kill, freeze, cut off and start again.
 *
 * Owns: the process and its road: if it has one, gateways and other nodes reach it through a relay
 * that can be cut. It may run in a network namespace, as on a machine of its own. Its port stays the
 * same over restarts.
 */
import { cp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { NODE_FLAGS } from '../../server/cli/node-flags.ts';
import { type RunningProgram, startProgram } from '../support/child-process.ts';
import { CuttableRoad } from '../support/cuttable-road.ts';
import { MAIN } from '../support/drover-server.ts';
import type { TestScope } from '../support/temp-folder.ts';

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;

const LOOPBACK = '127.0.0.1';
/** In a namespace nobody else listens. */
const NAMESPACE_PORT = 7000;

export async function freePort(host = LOOPBACK): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, host, resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

export interface StoreOptions {
  readonly id: string;
  readonly dataDirectory: string;
  readonly control: string;
  /** Reached through a relay. */
  readonly hasRoad: boolean;
  /** Where it listens, if not on loopback. */
  readonly host?: string | undefined;
  /** The network namespace that it runs in. */
  readonly namespace?: string | undefined;
}

export class StoreProcess {
  readonly id: string;
  readonly dataDirectory: string;
  httpUrl = '';
  readonly #road: CuttableRoad | undefined;
  readonly #scope: TestScope;
  readonly #commandLine: readonly [string, ...string[]];
  #program: RunningProgram;

  static async start(t: TestScope, options: StoreOptions): Promise<StoreProcess> {
    const port = options.namespace === undefined ? await freePort(options.host) : NAMESPACE_PORT;
    const road = options.hasRoad ? await CuttableRoad.to(t, port) : undefined;
    const store = new StoreProcess(t, options, port, road);
    await store.#ready();
    return store;
  }

  private constructor(
    t: TestScope,
    options: StoreOptions,
    port: number,
    road: CuttableRoad | undefined,
  ) {
    this.id = options.id;
    this.dataDirectory = options.dataDirectory;
    this.#road = road;
    this.#scope = t;
    this.#commandLine = [
      ...inNamespace(options.namespace),
      ...[...NODE_FLAGS, MAIN, 'store', '--id', options.id, '--data', options.dataDirectory],
      ...['--listen', `${options.host ?? LOOPBACK}:${port}`],
      ...(road === undefined ? [] : ['--advertise', road.endpoint]),
      ...['--control', options.control, '--http', '127.0.0.1:0'],
    ];
    this.#program = this.#start();
  }

  get road(): CuttableRoad {
    if (this.#road === undefined) throw new Error(`${this.id} has no road`);
    return this.#road;
  }

  /** Ends the process as a crash would. */
  async kill(): Promise<void> {
    this.#program.kill('SIGKILL');
    await this.#program.ended(STOP_LIMIT_MS);
  }

  /** Starts the ended process again, on what is in its directory. */
  async startAgain(): Promise<void> {
    this.#program = this.#start();
    await this.#ready();
  }

  /** Ends the process as an operator would; throws unless it exits with 0. */
  async stop(): Promise<void> {
    this.#program.kill('SIGTERM');
    const { code } = await this.#program.ended(STOP_LIMIT_MS);
    if (code !== 0) throw this.#program.failure('did not stop cleanly');
  }

  /** Waits for its end; resolves to how it was, and what it said. */
  async ended(): Promise<{ readonly code: number | null; readonly stderr: string }> {
    const { code } = await this.#program.ended(STOP_LIMIT_MS);
    return { code, stderr: this.#program.stderr };
  }

  freeze(): Promise<void> {
    return this.#program.freeze();
  }

  thaw(): void {
    this.#program.thaw();
  }

  /** Of the ended process: nothing is left of its data. */
  wipe(): Promise<void> {
    return rm(this.dataDirectory, { recursive: true });
  }

  /** Of the ended process. */
  async keepCopy(folder: string): Promise<void> {
    await cp(this.dataDirectory, folder, { recursive: true });
  }

  async putCopyBack(folder: string): Promise<void> {
    await this.wipe();
    await cp(folder, this.dataDirectory, { recursive: true });
  }

  #start(): RunningProgram {
    const [command, ...args] = this.#commandLine;
    return startProgram(this.#scope, command, args);
  }

  async #ready(): Promise<void> {
    const http = await this.#program.printed(
      /(http:\/\/127\.0\.0\.1:\d+)[^\n]*\ndrover is ready/,
      START_LIMIT_MS,
    );
    this.httpUrl = http[1]!;
  }
}

/** How a program is started there; `ip` becomes the program, so that signals go to the right one. */
function inNamespace(namespace: string | undefined): [string, ...string[]] {
  if (namespace === undefined) return [process.execPath];
  return ['ip', 'netns', 'exec', namespace, process.execPath];
}
