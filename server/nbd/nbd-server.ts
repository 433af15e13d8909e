/**
 * The NBD server: its addresses, its connections, and their end.
 *
 * Owns: listeners, the set of connections and their limit, what the connections share. Does not
 * own: the exports; the catalog outlives the server.
 */
import type net from 'node:net';
import { BusyPoll } from '../../store/runtime/busy-poll.ts';
import type { Clock } from '../../store/runtime/clock.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import { type Logger, silentLogger } from '../../store/runtime/logger.ts';
import type { ExportCatalog } from '../volume/export-catalog.ts';
import { BufferPool } from './buffer-pool.ts';
import { Connection, type ConnectionParts } from './connection.ts';
import { DEFAULT_LIMITS, type NbdLimits } from './limits.ts';
import { formatAddress, Listener, type NbdAddress } from './listener.ts';
import { NbdStats } from './stats.ts';

export interface NbdServerOptions {
  readonly catalog: ExportCatalog;
  readonly clock: Clock;
  readonly logger?: Logger;
  readonly limits?: Partial<NbdLimits>;
}

export class NbdServer {
  readonly stats = new NbdStats();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #limits: NbdLimits;
  readonly #parts: ConnectionParts;
  readonly #listeners: Listener[] = [];
  readonly #connections = new Set<Connection>();
  #isClosing = false;
  #onAllClosed: (() => void) | undefined;

  constructor({ catalog, clock, logger = silentLogger, limits = {} }: NbdServerOptions) {
    this.#clock = clock;
    this.#logger = logger;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#parts = {
      catalog,
      clock,
      logger,
      limits: this.#limits,
      stats: this.stats,
      pool: new BufferPool(),
      held: { total: 0 },
      busyPoll: new BusyPoll(clock, this.#limits.busyPoll),
      onClosed: (connection) => this.#closed(connection),
    };
  }

  /** Connections that are not wholly closed, those in the handshake included. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Accepts clients on one more address. Errors: `busy` if it is in use, `unavailable`. */
  async listen(address: NbdAddress): Promise<{ readonly address: NbdAddress }> {
    let name = formatAddress(address);
    const listener = await Listener.open(
      address,
      (accepted) => this.#accept(accepted, name),
      (error) => this.#logger.warn({ address: name }, `no connection accepted: ${error.message}`),
    );
    if (this.#isClosing) {
      await listener.close();
      throw new DroverError('unavailable', 'the server is being shut down');
    }
    name = formatAddress(listener.address);
    this.#listeners.push(listener);
    return { address: listener.address };
  }

  /** Ends the connections to one export after their requests under way. */
  disconnectExport(name: string): void {
    for (const connection of this.#connections) {
      if (connection.exportName === name) connection.shutDown('the export is taken away');
    }
  }

  /**
   * Accepts no more, lets requests under way end and their replies be taken, and closes every
   * connection; cuts off after `graceMs` what is left then.
   */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const allClosed = new Promise<void>((resolve) => {
      this.#onAllClosed = resolve;
    });
    for (const connection of this.#connections) {
      connection.shutDown('the server is being shut down');
    }
    const graceTimer = this.#clock.setTimer(graceMs, () => this.#cutOff());
    await Promise.all(this.#listeners.splice(0).map((listener) => listener.close()));
    if (this.#connections.size > 0) await allClosed;
    graceTimer.cancel();
  }

  #cutOff(): void {
    this.#logger.warn({ connections: this.#connections.size }, 'cutting off NBD connections');
    for (const connection of this.#connections) connection.destroy();
    // An operation that hangs must not hold up the end; it is left to its device.
    this.#onAllClosed?.();
  }

  #accept(accepted: net.Socket, listenerName: string): void {
    if (this.#isClosing || this.#connections.size >= this.#limits.connectionsMax) {
      this.stats.connectionsRefused += 1;
      this.#logger.warn({ connections: this.#connections.size }, 'too many NBD connections');
      accepted.destroy();
      return;
    }
    const { remoteAddress, remotePort } = accepted;
    const peer = remoteAddress === undefined ? listenerName : `${remoteAddress}:${remotePort}`;
    this.#connections.add(new Connection(this.#parts, accepted, peer));
    this.stats.connectionsAccepted += 1;
    this.stats.connectionsOpen = this.#connections.size;
  }

  #closed(connection: Connection): void {
    this.#connections.delete(connection);
    this.stats.connectionsOpen = this.#connections.size;
    if (this.#connections.size === 0) this.#onAllClosed?.();
  }
}
