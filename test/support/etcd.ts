/**
 * A real etcd of one member, in a folder of its own, that a test can kill, restart and freeze.
 *
 * Owns: the process. It dies with the test. Its ports are chosen by the kernel and kept over a
 * restart.
 */
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type RunningProgram, startProgram } from './child-process.ts';
import { type TestScope, temporaryFolder } from './temp-folder.ts';
import { eventually } from './time-limit.ts';

const START_LIMIT_MS = 20_000;

async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, host, resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

export class Etcd {
  readonly host: string;
  readonly port: number;
  readonly #scope: TestScope;
  readonly #args: readonly string[];
  #program: RunningProgram;

  private constructor(scope: TestScope, host: string, port: number, args: readonly string[]) {
    this.host = host;
    this.port = port;
    this.#scope = scope;
    this.#args = args;
    this.#program = startProgram(scope, 'etcd', args);
  }

  static async start(scope: TestScope, host = '127.0.0.1'): Promise<Etcd> {
    const folder = await temporaryFolder(scope);
    // Another process may take a port between its choice and its use.
    for (let attempt = 1; ; attempt++) {
      const [port, peerPort] = [await freePort(host), await freePort(host)];
      const [client, peer] = [`http://${host}:${port}`, `http://${host}:${peerPort}`];
      const etcd = new Etcd(scope, host, port, [
        ...['--name', 'test', '--data-dir', join(folder, `data-${attempt}`)],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', `test=${peer}`, '--log-level', 'error'],
      ]);
      try {
        await etcd.#listening();
        return etcd;
      } catch (error) {
        if (attempt === 3) throw error;
      }
    }
  }

  get endpoint(): string {
    return `${this.host}:${this.port}`;
  }

  async kill(): Promise<void> {
    this.#program.kill('SIGKILL');
    await this.#program.ended(10_000);
  }

  /** Starts the killed etcd again, on its data and its ports. */
  async restart(): Promise<void> {
    this.#program = startProgram(this.#scope, 'etcd', this.#args);
    await this.#listening();
  }

  freeze(): Promise<void> {
    return this.#program.freeze();
  }

  thaw(): void {
    this.#program.thaw();
  }

  async #listening(): Promise<void> {
    await eventually('etcd to listen', START_LIMIT_MS, async () => {
      if (this.#program.status !== undefined) throw this.#program.failure('ended');
      return accepts(this.host, this.port);
    });
  }
}
