/**
 * A TCP road to a port of this machine that a test can cut, silence and restore.
 */
import { connect, createServer, type Socket } from 'node:net';
import type { TestScope } from './temp-folder.ts';

export class CuttableRoad {
  readonly endpoint: string;
  readonly #pairs: Set<readonly [Socket, Socket]>;
  #isCut = false;

  private constructor(port: number, pairs: Set<readonly [Socket, Socket]>) {
    this.endpoint = `127.0.0.1:${port}`;
    this.#pairs = pairs;
  }

  static async to(scope: TestScope, port: number): Promise<CuttableRoad> {
    const pairs = new Set<readonly [Socket, Socket]>();
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const road = new CuttableRoad(address.port, pairs);
    server.on('connection', (near) => {
      if (road.#isCut) near.destroy();
      else road.#join(near, connect(port, '127.0.0.1'));
    });
    scope.teardown(() => {
      server.close();
      road.cut();
    });
    return road;
  }

  /** Breaks what is connected, and everything that connects until `restore`. */
  cut(): void {
    this.#isCut = true;
    for (const [near, far] of this.#pairs) {
      near.destroy();
      far.destroy();
    }
  }

  restore(): void {
    this.#isCut = false;
  }

  /** What is connected now gets no further byte in either direction; new connections work. */
  silence(): void {
    for (const [near, far] of this.#pairs) {
      near.unpipe(far).pause();
      far.unpipe(near).pause();
    }
  }

  #join(near: Socket, far: Socket): void {
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
    near.pipe(far);
    far.pipe(near);
  }
}
