/**
 * The network of the operating system, through `node:net`.
 *
 * Owns: sockets, listening sockets, and one receive buffer for all of them. Does not own: frames,
 * reconnecting, limits.
 * Invariants: after `destroy` no event follows but `onClose`, and no byte of a buffer given to
 * `write` is looked at again; `onClose` comes once.
 *
 * All sockets share a receive buffer: the event loop asks for the place, reads and calls back
 * without doing anything between (true wherever it polls for readiness: Linux, macOS, BSD), and a
 * chunk is only valid during its callback. So a thousand idle connections cost no buffer, and the
 * bytes of a busy one stay in the processor's cache.
 */
import net from 'node:net';
import type {
  Network,
  NetworkAddress,
  NetworkServer,
  NetworkStream,
  StreamEvents,
} from './network.ts';

/**
 * Measured with reads of 128 KiB, 16 at a time: 64 KiB 2.6 GB/s, 256 KiB 3.8, 1 MiB 4.0; the middle
 * one leaves room for others in a second-level cache.
 */
const RECEIVE_BYTES = 256 * 1024;
/** What a socket holds before `write` says wait; one flush of many small frames fits. */
const SEND_HIGH_WATER_BYTES = 256 * 1024;

const receiveBuffer = Buffer.allocUnsafeSlow(RECEIVE_BYTES);

/** A socket calls back for bytes that it could not send as well; `onClose` tells of those. */
function unlessFailed(onSent: (() => void) | undefined) {
  if (onSent === undefined) return undefined;
  return (error: Error | null | undefined) => {
    if (error === null || error === undefined) onSent();
  };
}

class RealStream implements NetworkStream {
  readonly #socket: net.Socket;
  readonly peerName: string;
  readonly #events: StreamEvents;
  #error: Error | undefined;

  /** `socket` is connected, and `chunkTo` is where its receive callback goes. */
  constructor(
    socket: net.Socket,
    chunkTo: { receive: (bytes: number) => boolean },
    events: (stream: NetworkStream) => StreamEvents,
  ) {
    this.#socket = socket;
    this.peerName = `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
    this.#events = events(this);
    chunkTo.receive = (bytes) => this.#receive(bytes);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.on('drain', () => this.#events.onDrain());
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.#events.onClose(this.#error));
  }

  /** Hot path. */
  #receive(bytes: number): boolean {
    if (this.#socket.destroyed) return false;
    this.#events.onData(bytes === RECEIVE_BYTES ? receiveBuffer : receiveBuffer.subarray(0, bytes));
    return true;
  }

  /** Hot path. */
  write(buffers: readonly Buffer[], onSent?: () => void): boolean {
    const socket = this.#socket;
    if (socket.destroyed) return true;
    const last = buffers.length - 1;
    if (last === 0) return socket.write(buffers[0]!, unlessFailed(onSent));
    socket.cork();
    for (let i = 0; i < last; i += 1) socket.write(buffers[i]!);
    const goOn = socket.write(buffers[last]!, unlessFailed(onSent));
    socket.uncork();
    return goOn;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Starts a socket that receives into the shared buffer; `chunkTo` is bound when it is connected. */
function socketOptions(chunkTo: { receive: (bytes: number) => boolean }): {
  onread: net.OnReadOpts;
} {
  return {
    onread: { buffer: receiveBuffer, callback: (bytes) => chunkTo.receive(bytes) },
  };
}

function connect(
  address: NetworkAddress,
  timeoutMs: number,
  events: (stream: NetworkStream) => StreamEvents,
): Promise<NetworkStream> {
  return new Promise((resolve, reject) => {
    const chunkTo = { receive: (_bytes: number) => false };
    const socket = net.connect({
      ...socketOptions(chunkTo),
      host: address.host,
      port: address.port,
      highWaterMark: SEND_HIGH_WATER_BYTES,
    } as net.TcpNetConnectOpts);
    const timer = setTimeout(() => {
      socket.destroy(new Error(`no connection to ${address.host}:${address.port} in time`));
    }, timeoutMs);
    const onFailure = (error: Error) => {
      clearTimeout(timer);
      reject(error);
    };
    socket.once('error', onFailure);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', onFailure);
      resolve(new RealStream(socket, chunkTo, events));
    });
  });
}

/**
 * An accepted socket reads into chunks of its own; only a socket made with `onread` reads into a
 * given buffer. So its handle, from which nothing was read yet, moves to a new socket.
 */
function withSharedBuffer(
  accepted: net.Socket,
  chunkTo: { receive: (bytes: number) => boolean },
): net.Socket {
  const owner = accepted as unknown as { _handle: unknown };
  const handle = owner._handle;
  owner._handle = null;
  // Without a handle this closes nothing; the server counts it as gone.
  accepted.destroy();
  // `node:net` takes these options; its types do not name them.
  const options = {
    ...socketOptions(chunkTo),
    handle,
    highWaterMark: SEND_HIGH_WATER_BYTES,
  } as net.SocketConstructorOpts;
  return new net.Socket(options);
}

function listen(
  address: NetworkAddress,
  accept: (stream: NetworkStream) => StreamEvents,
): Promise<NetworkServer> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ pauseOnConnect: true }, (accepted) => {
      const chunkTo = { receive: (_bytes: number) => false };
      const socket = withSharedBuffer(accepted, chunkTo);
      new RealStream(socket, chunkTo, accept);
      socket.resume();
    });
    server.once('error', reject);
    server.listen({ host: address.host, port: address.port }, () => {
      server.removeListener('error', reject);
      const bound = server.address() as net.AddressInfo;
      resolve({
        address: { host: bound.address, port: bound.port },
        close: () =>
          new Promise<void>((done) => {
            // Open streams belong to whoever accepted them; closing waits for none of them.
            server.close(() => done());
          }),
      });
    });
  });
}

export const realNetwork: Network = { connect, listen };
