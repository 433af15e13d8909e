/**
 * The connection of a client to its node: made, greeted, watched, and made again.
 *
 * Owns: the states, the greeting, pings and backoff. Does not own: the stream's bytes
 * (`link-stream.ts`); calls: whoever uses the link sends them when it is `up`.
 *
 * Invariants: one stream at a time; when it is left, it is destroyed before anything else happens,
 * so nothing of it is sent or received later. Frames are handed on only while the link is `up`.
 */
import assert from 'node:assert';
import type { Clock, TimerHandle } from '../runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Network, NetworkAddress } from '../runtime/network.ts';
import type { Random } from '../runtime/random.ts';
import { errorOf, STATUS_OK } from './error-codes.ts';
import {
  CLIENT_ID_BYTES,
  decodeWelcome,
  encodeHello,
  type PeerRole,
  type Welcome,
} from './greeting.ts';
import {
  ATTEMPT_ANSWER_MS,
  BACKOFF_MAX_MS,
  BACKOFF_MIN_MS,
  CONNECT_LIMIT_MS,
  GREETING_LIMIT_MS,
  PING_INTERVAL_MS,
  SILENT_LIMIT_MS,
} from './limits.ts';
import { type FrameUser, LinkStream, type LinkStreamOwner } from './link-stream.ts';
import type { SendQueue } from './send-queue.ts';
import { MessageType, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from './wire.ts';

/**
 * - `connecting`: a connection is being made or greeted
 * - `up`: the node has welcomed this client
 * - `down`: there is none; the next attempt waits for its time
 * - `closed`: for good
 */
export type LinkState = 'connecting' | 'up' | 'down' | 'closed';

const LEGAL_MOVES: Readonly<Record<LinkState, readonly LinkState[]>> = {
  connecting: ['up', 'down', 'closed'],
  up: ['down', 'closed'],
  down: ['connecting', 'closed'],
  closed: [],
};

/** `ENOTCONN`: ended in the moment between being made and being used. */
const ANSWER_CODES: ReadonlySet<string> = new Set([
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTCONN',
  'EPIPE',
]);

export interface LinkTimes {
  readonly connectLimitMs: number;
  readonly greetingLimitMs: number;
  readonly pingIntervalMs: number;
  readonly silentLimitMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
}

export const LINK_TIMES: LinkTimes = {
  connectLimitMs: CONNECT_LIMIT_MS,
  greetingLimitMs: GREETING_LIMIT_MS,
  pingIntervalMs: PING_INTERVAL_MS,
  silentLimitMs: SILENT_LIMIT_MS,
  backoffMinMs: BACKOFF_MIN_MS,
  backoffMaxMs: BACKOFF_MAX_MS,
};

export interface LinkOptions {
  readonly nodeId: string;
  readonly address: NetworkAddress;
  readonly clusterId: string;
  readonly role: PeerRole;
  /** What this process is called in the node's log. */
  readonly ownName: string;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly times?: Partial<LinkTimes>;
}

export interface LinkUser extends FrameUser {
  /** Welcomed: calls may be sent through `queue`. */
  onUp(queue: SendQueue, welcome: Welcome): void;
  /** The stream that was up is gone. */
  onLost(): void;
  /** When the oldest call that is not answered was made. */
  readonly oldestMadeMs: number | undefined;
}

export class PeerLink implements LinkStreamOwner {
  readonly #options: LinkOptions;
  readonly #times: LinkTimes;
  readonly #user: LinkUser;
  readonly #onState: (state: LinkState) => void;
  readonly #clientId: Buffer;
  #address: NetworkAddress;
  #state: LinkState = 'down';
  #stream: LinkStream | undefined;
  #connectionNumber = 0;
  #backoffMs: number;
  #timer: TimerHandle | undefined;
  stateSinceMs: number;
  /** Since when the link is not up; undefined while it is. */
  notUpSinceMs: number | undefined;
  #refusedSinceMs: number | undefined;
  /** Since when the node was silent when its last connection was left. */
  #silentBeforeMs: number | undefined;
  lastReceivedMs: number;
  pingSentMs: number | undefined;
  lastFailure: string | undefined;
  /** Of the latest connection that came up. */
  welcome: Welcome | undefined;
  connects = 0;
  connectFailures = 0;

  constructor(options: LinkOptions, user: LinkUser, onState: (state: LinkState) => void) {
    this.#options = options;
    this.#times = { ...LINK_TIMES, ...options.times };
    this.#user = user;
    this.#onState = onState;
    this.#clientId = options.random.bytes(CLIENT_ID_BYTES);
    this.#address = options.address;
    this.#backoffMs = this.#times.backoffMinMs;
    const nowMs = options.clock.nowMs();
    this.stateSinceMs = nowMs;
    this.notUpSinceMs = nowMs;
    this.lastReceivedMs = nowMs;
  }

  get state(): LinkState {
    return this.#state;
  }

  /**
   * Since when the node is gone, by answers that say so: its connection was ended, and every
   * attempt since was refused or ended before the welcome, as by a proxy in front of a dead node.
   * Undefined while it is up, after an attempt that was left without an answer, and while the
   * present one is: a node that is slow is no node that is gone.
   */
  get refusedSinceMs(): number | undefined {
    return this.#isAnswerLate() ? undefined : this.#refusedSinceMs;
  }

  /**
   * Since when the node owes a sign of life: it was asked and nothing was received since, or there
   * is no connection. Undefined if it owes none.
   */
  get silentSinceMs(): number | undefined {
    const { notUpSinceMs } = this;
    if (notUpSinceMs === undefined) return this.#owedSinceMs();
    return Math.min(notUpSinceMs, this.#silentBeforeMs ?? notUpSinceMs);
  }

  #owedSinceMs(): number | undefined {
    const askedMs = this.#user.oldestMadeMs ?? this.pingSentMs;
    return askedMs === undefined ? undefined : Math.max(askedMs, this.lastReceivedMs);
  }

  #isAnswerLate(): boolean {
    if (this.#state !== 'connecting') return false;
    return this.#options.clock.nowMs() - this.stateSinceMs > ATTEMPT_ANSWER_MS;
  }

  /** Makes the first stream. */
  start(): void {
    this.#connect();
  }

  /** Where to find the node from the next attempt on; a present connection is kept. */
  changeAddress(address: NetworkAddress): void {
    this.#address = address;
  }

  /** Leaves the present connection and makes another at once. */
  reconnect(reason: string): void {
    if (this.#state === 'closed') return;
    this.#leave(reason);
    // Whoever was told of it may have done something else already.
    if (this.#state === 'down') this.#connect();
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#endStream('closed');
    this.#move('closed');
  }

  #move(to: LinkState): void {
    const legal = LEGAL_MOVES[this.#state];
    assert(legal.includes(to), `a link that is ${this.#state} becomes ${legal}, not ${to}`);
    const nowMs = this.#options.clock.nowMs();
    this.#state = to;
    this.stateSinceMs = nowMs;
    if (to === 'up') this.notUpSinceMs = undefined;
    else this.notUpSinceMs ??= nowMs;
    this.#onState(to);
  }

  /** From `connecting` or `up` to `down`, the stream destroyed first. */
  #leave(reason: string): void {
    this.#endStream(reason);
    if (this.#state === 'connecting' || this.#state === 'up') this.#move('down');
  }

  #endStream(reason: string): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.destroy();
    this.#timer?.cancel();
    if (this.#state === 'up') this.#silentBeforeMs = this.#owedSinceMs();
    this.pingSentMs = undefined;
    this.lastFailure = reason;
    if (this.#state === 'up') this.#user.onLost();
  }

  #connect(): void {
    const { network, clock, nodeId } = this.#options;
    this.#move('connecting');
    this.#connectionNumber += 1;
    const stream = new LinkStream(this, this.#user);
    this.#stream = stream;
    const address = this.#address;
    network
      .connect(address, this.#times.connectLimitMs, (opened) => stream.open(opened))
      .then(
        () => {
          if (this.#stream !== stream) {
            stream.destroy();
            return;
          }
          const { greetingLimitMs } = this.#times;
          this.#timer = clock.setTimer(greetingLimitMs, () => {
            this.failed(stream, new Error(`node ${nodeId} does not answer the greeting`));
          });
          stream.greet(this.#hello());
        },
        (error: unknown) => this.failed(stream, error),
      );
  }

  #hello(): Buffer {
    const { nodeId, clusterId, role, ownName } = this.#options;
    return encodeHello({
      versionMin: PROTOCOL_VERSION_MIN,
      versionMax: PROTOCOL_VERSION_MAX,
      role,
      clusterId,
      ownName,
      wantedNodeId: nodeId,
      clientId: this.#clientId,
      connectionNumber: this.#connectionNumber,
      credential: Buffer.alloc(0),
    });
  }

  /** The answer being received makes no sense; the connection is given up. */
  refuseAnswer(reason: string): void {
    this.#stream?.refuse(reason);
  }

  // What a stream reports; one that was left reports in vain.

  welcomed(stream: LinkStream, meta: Buffer, status: number): void {
    if (this.#stream !== stream) return;
    const { nodeId, log } = this.#options;
    let welcome: Welcome;
    try {
      if (status !== STATUS_OK) throw errorOf(status, meta.toString('utf8'), nodeId);
      welcome = decodeWelcome(meta);
      if (welcome.nodeId !== nodeId) {
        throw new DroverError('invalid', `this is node ${welcome.nodeId}, not ${nodeId}`);
      }
    } catch (error) {
      // Asking again soon would not help: the node has said no.
      this.#backoffMs = this.#times.backoffMaxMs;
      log.warn({ node: nodeId, reason: describeError(error) }, 'node refuses this client');
      this.failed(stream, error);
      return;
    }
    this.#timer?.cancel();
    this.#backoffMs = this.#times.backoffMinMs;
    this.#refusedSinceMs = undefined;
    this.connects += 1;
    log.info({ node: nodeId, version: welcome.version }, 'node is up');
    this.welcome = welcome;
    this.#move('up');
    // Whoever was told of it may have left the connection again.
    if (this.#stream !== stream) return;
    this.#watch();
    this.#user.onUp(stream.queue, welcome);
  }

  /** Hot path. */
  received(stream: LinkStream, bytes: number): void {
    if (this.#stream !== stream) return;
    this.lastReceivedMs = this.#options.clock.nowMs();
    this.#user.traffic.receivedBytes += bytes;
  }

  ponged(): void {
    this.pingSentMs = undefined;
  }

  failed(stream: LinkStream, error: unknown): void {
    if (this.#stream !== stream) return;
    const { nodeId, log, clock, random } = this.#options;
    const reason = describeError(error);
    if (this.#state === 'up') log.warn({ node: nodeId, reason }, 'connection to the node lost');
    else this.connectFailures += 1;
    if (isAnswer(error)) this.#refusedSinceMs ??= clock.nowMs();
    else this.#refusedSinceMs = undefined;
    this.#leave(reason);
    if (this.#state !== 'down') return;
    const delayMs = this.#backoffMs * (0.5 + random.fraction() / 2);
    this.#backoffMs = Math.min(this.#backoffMs * 2, this.#times.backoffMaxMs);
    this.#timer = clock.setTimer(delayMs, () => this.#connect());
  }

  /** Asks a node that says nothing for a sign of life, and gives up one that gives none. */
  #watch(): void {
    const { clock } = this.#options;
    this.#timer = clock.setTimer(this.#times.pingIntervalMs, () => {
      const stream = this.#stream!;
      const nowMs = clock.nowMs();
      const silentMs = nowMs - this.lastReceivedMs;
      if (this.pingSentMs === undefined) {
        if (silentMs >= this.#times.pingIntervalMs / 2) {
          this.pingSentMs = nowMs;
          stream.send(MessageType.ping, Buffer.alloc(0));
        }
      } else if (silentMs >= this.#times.silentLimitMs) {
        this.failed(stream, new Error(`nothing received for ${Math.round(silentMs)} ms`));
        return;
      }
      this.#watch();
    });
  }
}

/**
 * True when the other side ended the connection or the attempt, as a machine without that process
 * does at once; false for our own limits, and for a network that leads nowhere.
 */
function isAnswer(error: unknown): boolean {
  return isDroverError(error) || ANSWER_CODES.has((error as NodeJS.ErrnoException).code ?? '');
}
