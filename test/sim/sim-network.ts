/**
 * A network inside one process that delays, cuts, freezes and spoils, for tests.
 *
 * Owns: streams between addresses of this network, in order and bounded like a socket's buffers,
 * on a given clock. Does not own: what is sent.
 * Invariants: bytes of one stream arrive in order or not at all; `write` copies, so that a change
 * of a buffer before it was sent is seen by whoever receives it, as with a socket.
 */
import type { Clock } from '../../store/runtime/clock.ts';
import type {
  Network,
  NetworkAddress,
  NetworkServer,
  NetworkStream,
  StreamEvents,
} from '../../store/runtime/network.ts';

/** What the kernels of both sides hold of one direction before `write` says wait. */
const BUFFERED_BYTES_MAX = 256 * 1024;

export interface SimNetworkOptions {
  readonly clock: Clock;
  /** A number in [0, 1); used for latencies and for cutting chunks. */
  fraction(): number;
  readonly latencyMinMs?: number;
  readonly latencyMaxMs?: number;
  /** Chunks are cut at random places down to one byte; otherwise they arrive as they were sent. */
  readonly cutChunks?: boolean;
}

type Accept = (stream: NetworkStream) => StreamEvents;

/** What the network does to one address. */
type Condition = 'open' | 'refusing' | 'frozen' | 'lost';

interface Piece {
  bytes: Buffer;
  readonly onSent: (() => void) | undefined;
}

export class SimNetwork implements Network {
  readonly options: SimNetworkOptions;
  readonly #listeners = new Map<number, Accept>();
  readonly #conditions = new Map<number, Condition>();
  readonly #pairs = new Set<SimPair>();
  #nextPort = 1;
  /** Looks at, and may change, every chunk that is delivered to or from a listening port. */
  spoil: ((bytes: Buffer, port: number, toServer: boolean) => void) | undefined;

  constructor(options: SimNetworkOptions) {
    this.options = options;
  }

  async listen(address: NetworkAddress, accept: Accept): Promise<NetworkServer> {
    const port = address.port === 0 ? this.#nextPort++ : address.port;
    if (this.#listeners.has(port)) throw systemError('EADDRINUSE');
    this.#listeners.set(port, accept);
    return {
      address: { host: address.host, port },
      close: async () => {
        this.#listeners.delete(port);
      },
    };
  }

  connect(
    address: NetworkAddress,
    timeoutMs: number,
    events: (stream: NetworkStream) => StreamEvents,
  ): Promise<NetworkStream> {
    const { port } = address;
    return new Promise((resolve, reject) => {
      this.later(() => {
        const accept = this.#listeners.get(port);
        if (this.condition(port) === 'lost') {
          this.options.clock.setTimer(timeoutMs, () => reject(systemError('ETIMEDOUT')));
        } else if (this.condition(port) === 'refusing' || accept === undefined) {
          reject(systemError('ECONNREFUSED'));
        } else {
          const pair = new SimPair(this, port, (ended) => this.#pairs.delete(ended));
          this.#pairs.add(pair);
          pair.client.events = events(pair.client);
          // A frozen process accepts nothing, and yet the connection is made.
          pair.toServer.whenDelivering(() => {
            pair.server.events = accept(pair.server);
          });
          resolve(pair.client);
        }
      });
    });
  }

  condition(port: number): Condition {
    return this.#conditions.get(port) ?? 'open';
  }

  /** Connections break, and new ones are refused: the process is gone. */
  refuse(port: number): void {
    this.#conditions.set(port, 'refusing');
    this.breakStreams(port);
  }

  /** Nothing is delivered either way, though connections can be made: the process is stopped. */
  freeze(port: number): void {
    this.#conditions.set(port, 'frozen');
  }

  /** Nothing is delivered and no connection made: the cable is out. */
  lose(port: number): void {
    this.#conditions.set(port, 'lost');
  }

  /** All is well again; what was held back is delivered. */
  heal(port: number): void {
    this.#conditions.delete(port);
    for (const pair of [...this.#pairs]) if (pair.port === port) pair.deliver();
  }

  /** Both sides of every connection to the port learn that it broke. */
  breakStreams(port: number): void {
    for (const pair of [...this.#pairs]) {
      if (pair.port === port) pair.end(systemError('ECONNRESET'));
    }
  }

  later(run: () => void): void {
    const { clock, latencyMinMs = 0, latencyMaxMs = latencyMinMs } = this.options;
    const delayMs = latencyMinMs + this.options.fraction() * (latencyMaxMs - latencyMinMs);
    if (delayMs === 0) clock.endOfTurn(run);
    else clock.setTimer(delayMs, run);
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(`simulated ${code}`), { code });
}

/** One connection: two ends and two directions. */
class SimPair {
  readonly network: SimNetwork;
  readonly port: number;
  readonly client: SimStream;
  readonly server: SimStream;
  readonly toServer: Direction;
  readonly toClient: Direction;
  readonly #onEnd: (pair: SimPair) => void;
  #state: 'open' | 'ended' = 'open';

  constructor(network: SimNetwork, port: number, onEnd: (pair: SimPair) => void) {
    this.network = network;
    this.port = port;
    this.#onEnd = onEnd;
    this.client = new SimStream(this, `server:${port}`);
    this.server = new SimStream(this, `client-of:${port}`);
    this.toServer = new Direction(this, this.client, this.server);
    this.toClient = new Direction(this, this.server, this.client);
    this.client.outgoing = this.toServer;
    this.server.outgoing = this.toClient;
    this.client.incoming = this.toClient;
    this.server.incoming = this.toServer;
  }

  /** A side is closed; when both are, the network forgets the pair. */
  sideClosed(): void {
    if (!this.client.isOpen() && !this.server.isOpen()) this.#onEnd(this);
  }

  deliver(): void {
    this.toServer.schedule();
    this.toClient.schedule();
  }

  /** One side closed, or the connection broke; the other side learns of it behind all bytes sent. */
  end(error: Error | undefined, closedBy?: SimStream): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    for (const stream of [this.client, this.server]) {
      const told = stream === closedBy ? undefined : error;
      if (stream === closedBy || error !== undefined) stream.closed(told);
      else stream.incoming!.endBehindBytes();
    }
  }
}

class Direction {
  readonly #pair: SimPair;
  readonly #from: SimStream;
  readonly #to: SimStream;
  #pieces: Piece[] = [];
  #first: (() => void) | undefined;
  #bytes = 0;
  #state: 'idle' | 'scheduled' | 'ending' = 'idle';
  #wantsDrain = false;

  constructor(pair: SimPair, from: SimStream, to: SimStream) {
    this.#pair = pair;
    this.#from = from;
    this.#to = to;
  }

  /** Runs when the first delivery happens, before it. */
  whenDelivering(run: () => void): void {
    this.#first = run;
    this.schedule();
  }

  send(buffers: readonly Buffer[], onSent: (() => void) | undefined): boolean {
    const bytes = Buffer.concat(buffers);
    this.#bytes += bytes.length;
    this.#pieces.push({ bytes, onSent });
    this.schedule();
    this.#wantsDrain = this.#bytes > BUFFERED_BYTES_MAX;
    return !this.#wantsDrain;
  }

  endBehindBytes(): void {
    this.#state = 'ending';
    this.#pair.network.later(() => this.#deliver());
  }

  schedule(): void {
    if (this.#state === 'scheduled') return;
    if (this.#state === 'idle') this.#state = 'scheduled';
    this.#pair.network.later(() => this.#deliver());
  }

  #deliver(): void {
    if (this.#state === 'scheduled') this.#state = 'idle';
    const { network, port } = this.#pair;
    const condition = network.condition(port);
    if (condition === 'frozen' || condition === 'lost') return;
    this.#first?.();
    this.#first = undefined;
    while (this.#pieces.length > 0 && this.#to.isReading()) this.#deliverOne();
    if (this.#state === 'ending' && this.#pieces.length === 0) this.#to.closed(undefined);
    if (this.#wantsDrain && this.#bytes <= BUFFERED_BYTES_MAX / 2) {
      this.#wantsDrain = false;
      this.#from.events?.onDrain();
    }
  }

  #deliverOne(): void {
    const piece = this.#pieces[0]!;
    const { network, port } = this.#pair;
    const { cutChunks, fraction } = network.options;
    const wanted =
      cutChunks === true ? 1 + Math.floor(fraction() * piece.bytes.length) : piece.bytes.length;
    const chunk = Buffer.from(piece.bytes.subarray(0, wanted));
    piece.bytes = piece.bytes.subarray(wanted);
    this.#bytes -= chunk.length;
    if (piece.bytes.length === 0) {
      this.#pieces.shift();
      piece.onSent?.();
    }
    network.spoil?.(chunk, port, this.#to === this.#pair.server);
    this.#to.events?.onData(chunk);
    // Valid only during the call: whoever kept it finds this.
    chunk.fill(0xdd);
  }
}

class SimStream implements NetworkStream {
  readonly #pair: SimPair;
  readonly peerName: string;
  events: StreamEvents | undefined;
  outgoing: Direction | undefined;
  incoming: Direction | undefined;
  #state: 'reading' | 'paused' | 'closed' = 'reading';

  constructor(pair: SimPair, peerName: string) {
    this.#pair = pair;
    this.peerName = peerName;
  }

  isReading(): boolean {
    return this.#state === 'reading';
  }

  isOpen(): boolean {
    return this.#state !== 'closed';
  }

  write(buffers: readonly Buffer[], onSent?: () => void): boolean {
    if (this.#state === 'closed') return true;
    return this.outgoing!.send(buffers, onSent);
  }

  pause(): void {
    if (this.#state === 'reading') this.#state = 'paused';
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'reading';
    this.incoming!.schedule();
  }

  destroy(): void {
    this.#pair.end(undefined, this);
  }

  /** The events end, in a later turn as with a socket. */
  closed(error: Error | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#pair.sideClosed();
    this.#pair.network.options.clock.endOfTurn(() => this.events?.onClose(error));
  }
}
