/**
 * A store node on the network: serves one `ReplicaNode` to any number of peers.
 *
 * Owns: the listening socket, the limit of connections, which connection of a client is the
 * current one, and what all connections hold together. Does not own: a connection's life
 * (`peer-session.ts`), nor the node.
 *
 * Invariant: when a client's connection is welcomed, nothing that an earlier connection of the same
 * client asked is running or will run. An answer that was lost is asked for again on the new
 * connection; without this rule a forgotten `install` of the old one could still be carried out
 * after newer writes, and put old data over new.
 */
import type { ReplicaNode } from '../engine/replica-node.ts';
import { BusyPoll, type BusyPollTimes, NO_BUSY_POLL } from '../runtime/busy-poll.ts';
import type { Clock } from '../runtime/clock.ts';
import { DroverError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Network, NetworkAddress, NetworkServer, NetworkStream } from '../runtime/network.ts';
import type { Hello, NodeIdentity } from './greeting.ts';
import {
  CONNECTION_IN_FLIGHT,
  CONNECTIONS_MAX,
  GREETING_LIMIT_MS,
  IDLE_LIMIT_MS,
  type InFlightLimits,
  SERVER_HELD_BYTES_MAX,
} from './limits.ts';
import { PeerSession } from './peer-session.ts';
import { SharedState } from './shared-state.ts';

export interface PeerServerOptions {
  readonly node: ReplicaNode;
  readonly identity: NodeIdentity;
  readonly clusterId: string;
  readonly network: Network;
  readonly clock: Clock;
  readonly log: Logger;
  readonly connectionsMax?: number;
  readonly connectionInFlight?: InFlightLimits;
  readonly serverHeldBytesMax?: number;
  readonly greetingLimitMs?: number;
  readonly idleLimitMs?: number;
  /** How long the process stays awake for what follows a read; not at all if left out. */
  readonly busyPoll?: BusyPollTimes;
}

/** Counted since the start; sizes in bytes. */
export interface PeerServerStats {
  readonly connections: number;
  readonly connectionsAccepted: number;
  readonly connectionsRefused: number;
  /** Connections ended because of what the peer sent. */
  readonly connectionsBroken: number;
  readonly requests: number;
  readonly errors: number;
  readonly corruptRequests: number;
  readonly heldBytes: number;
  readonly halts: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

interface ClientEntry {
  connectionNumber: number;
  session: PeerSession;
  /** Resolves when nothing asked by earlier connections is running. */
  quiet: Promise<void>;
}

export class PeerServer {
  readonly #options: PeerServerOptions;
  readonly #shared: SharedState;
  readonly #sessions = new Set<PeerSession>();
  readonly #clients = new Map<string, ClientEntry>();
  #server: NetworkServer | undefined;
  #state: 'opening' | 'open' | 'closed' = 'opening';
  #accepted = 0;
  #refused = 0;

  private constructor(options: PeerServerOptions) {
    this.#options = options;
    const busyPoll = new BusyPoll(options.clock, options.busyPoll ?? NO_BUSY_POLL);
    this.#shared = new SharedState(options.serverHeldBytesMax ?? SERVER_HELD_BYTES_MAX, busyPoll);
  }

  /** Rejects with the operating system's error if the address cannot be listened on. */
  static async listen(options: PeerServerOptions, address: NetworkAddress): Promise<PeerServer> {
    const server = new PeerServer(options);
    server.#server = await options.network.listen(address, (stream) => server.#accept(stream));
    server.#state = 'open';
    return server;
  }

  get address(): NetworkAddress {
    return this.#server!.address;
  }

  get stats(): PeerServerStats {
    const shared = this.#shared;
    return {
      connections: this.#sessions.size,
      connectionsAccepted: this.#accepted,
      connectionsRefused: this.#refused,
      connectionsBroken: shared.connectionsBroken,
      requests: shared.requests,
      errors: shared.errors,
      corruptRequests: shared.corruptRequests,
      heldBytes: shared.heldBytes,
      halts: shared.halts,
      receivedBytes: shared.receivedBytes,
      sentBytes: shared.sentBytes,
    };
  }

  /** Ends all connections, and resolves when nothing they asked is running any more. */
  async close(): Promise<void> {
    this.#state = 'closed';
    const closing = this.#server!.close();
    const sessions = [...this.#sessions];
    for (const session of sessions) session.close('the node shuts down');
    const quiet = [...this.#clients.values()].map((entry) => entry.quiet);
    await Promise.all([...sessions.map((session) => session.settled()), ...quiet, closing]);
  }

  #accept(stream: NetworkStream): PeerSession {
    const { clock, node, identity, log } = this.#options;
    const session = new PeerSession({
      stream,
      node,
      identity,
      clock,
      log,
      shared: this.#shared,
      inFlight: this.#options.connectionInFlight ?? CONNECTION_IN_FLIGHT,
      greetingLimitMs: this.#options.greetingLimitMs ?? GREETING_LIMIT_MS,
      idleLimitMs: this.#options.idleLimitMs ?? IDLE_LIMIT_MS,
      clusterId: this.#options.clusterId,
      supersede: (hello, newer) => this.#supersede(hello, newer),
      onClose: (closed) => this.#sessions.delete(closed),
    });
    const connectionsMax = this.#options.connectionsMax ?? CONNECTIONS_MAX;
    if (this.#state === 'closed' || this.#sessions.size >= connectionsMax) {
      this.#refused += 1;
      session.close(`${connectionsMax} connections are open already`);
    } else {
      this.#accepted += 1;
      this.#sessions.add(session);
    }
    return session;
  }

  /**
   * Ends the client's earlier connection; resolves when nothing that was asked on one is running.
   * Error: `invalid` if the client has connected anew since.
   */
  async #supersede(hello: Hello, newer: PeerSession): Promise<void> {
    const key = hello.clientId.toString('hex');
    const earlier = this.#clients.get(key);
    if (earlier !== undefined && hello.connectionNumber <= earlier.connectionNumber) {
      throw new DroverError('invalid', `connection ${earlier.connectionNumber} is newer`);
    }
    const waitFor = earlier === undefined ? [] : [earlier.quiet, earlier.session.settled()];
    const quiet = Promise.all(waitFor).then(() => undefined);
    const { connectionNumber } = hello;
    const entry: ClientEntry = { connectionNumber, session: newer, quiet };
    this.#clients.set(key, entry);
    earlier?.session.close('the client has connected anew');
    void Promise.all([quiet, newer.settled()]).then(() => {
      // Until the last connection is done with, a late earlier one must be known as such.
      if (this.#clients.get(key) === entry) this.#clients.delete(key);
    });
    await quiet;
  }
}
