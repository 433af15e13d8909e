/**
 * One address that NBD clients connect to: TCP or a unix socket.
 *
 * Owns: the listening socket, and the path of a unix socket. Does not own: accepted connections.
 */
import net from 'node:net';
import { DroverError } from '../../store/runtime/drover-error.ts';
import { removeStaleSocket } from '../../store/runtime/stale-socket.ts';

/** Port 0 chooses a free one. */
export type NbdAddress =
  | { readonly host: string; readonly port: number }
  | { readonly path: string };

export function formatAddress(address: NbdAddress): string {
  if ('path' in address) return `unix:${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

export class Listener {
  readonly #server: net.Server;
  /** With the port that was chosen. */
  readonly address: NbdAddress;

  private constructor(server: net.Server, address: NbdAddress) {
    this.#server = server;
    this.address = address;
  }

  /**
   * `accept` gets sockets from which nothing was read yet. The path of a unix socket that nobody
   * listens on is taken over. `onError` is told of clients that could not be accepted, for want of
   * file descriptors for example. Errors: `busy` if the address is in use, `unavailable` otherwise.
   */
  static async open(
    address: NbdAddress,
    accept: (accepted: net.Socket) => void,
    onError: (error: Error) => void,
  ): Promise<Listener> {
    const server = net.createServer({ pauseOnConnect: true }, accept);
    try {
      await listen(server, address);
      server.on('error', onError);
    } catch (error) {
      const isInUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      if (!isInUse || !('path' in address) || !(await isStale(address.path))) {
        throw new DroverError(
          isInUse ? 'busy' : 'unavailable',
          `cannot listen on ${formatAddress(address)}`,
          error,
        );
      }
      return Listener.open(address, accept, onError);
    }
    const bound = server.address();
    return new Listener(
      server,
      bound !== null && typeof bound === 'object'
        ? { host: bound.address, port: bound.port }
        : address,
    );
  }

  /** Accepts no more; connections that were accepted go on. */
  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.close((error) => (error === undefined ? resolve() : reject(error)));
    });
  }
}

function listen(server: net.Server, address: NbdAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...address }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

async function isStale(path: string): Promise<boolean> {
  try {
    return await removeStaleSocket(path);
  } catch (error) {
    throw new DroverError('unavailable', `cannot listen on unix:${path}`, error);
  }
}
