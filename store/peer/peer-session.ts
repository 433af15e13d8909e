/**
 * One connection to a served node, from its greeting to its end.
 *
 * Owns: the connection's states, its greeting, pings, and bounding what it holds. Does not own:
 * requests (`request-runner.ts`); which connection of a client is the current one (the server).
 *
 * Invariant: a request counts as held from its head until its answer was sent. At the limit nothing
 * more is decoded and the stream is paused, so what is held is at most the limit and one frame.
 */
import type { ReplicaNode } from '../engine/replica-node.ts';
import type { Clock, TimerHandle } from '../runtime/clock.ts';
import { describeError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { NetworkStream, StreamEvents } from '../runtime/network.ts';
import { messageOf, STATUS_OK, statusOf } from './error-codes.ts';
import { FrameDecoder, type FrameSink } from './frame-decoder.ts';
import {
  decodeHello,
  encodeWelcome,
  type Hello,
  type NodeIdentity,
  negotiate,
} from './greeting.ts';
import { GREETING_META_BYTES_MAX, type InFlightLimits } from './limits.ts';
import { RequestRunner, type RunnerOwner } from './request-runner.ts';
import { SendQueue } from './send-queue.ts';
import type { SharedState } from './shared-state.ts';
import { FLAG_ANSWER, type FrameHead, MessageType } from './wire.ts';

export interface PeerSessionOptions {
  readonly stream: NetworkStream;
  readonly node: ReplicaNode;
  readonly identity: NodeIdentity;
  readonly clock: Clock;
  readonly log: Logger;
  readonly shared: SharedState;
  readonly inFlight: InFlightLimits;
  readonly greetingLimitMs: number;
  readonly idleLimitMs: number;
  readonly clusterId: string;
  /** Resolves when nothing asked by earlier connections of the client is running. */
  supersede(hello: Hello, session: PeerSession): Promise<void>;
  onClose(session: PeerSession): void;
}

/**
 * - `greeting`: the first message has not come
 * - `waiting`: it has; earlier connections of the same client are not done yet
 * - `serving`: welcomed
 * - `closed`: nothing is read or sent any more; what the node was asked may still be running
 */
type SessionState = 'greeting' | 'waiting' | 'serving' | 'closed';

const LEGAL_MOVES: Readonly<Record<SessionState, readonly SessionState[]>> = {
  greeting: ['waiting', 'closed'],
  waiting: ['serving', 'closed'],
  serving: ['closed'],
  closed: [],
};

const NO_META = Buffer.alloc(0);

/** What the frame being received is. */
type Incoming = 'hello' | 'ping' | 'request';

export class PeerSession implements StreamEvents, FrameSink, RunnerOwner {
  readonly #options: PeerSessionOptions;
  readonly #stream: NetworkStream;
  readonly #shared: SharedState;
  readonly #decoder: FrameDecoder;
  readonly #queue: SendQueue;
  readonly #runner: RequestRunner;
  readonly #settled = Promise.withResolvers<void>();
  #state: SessionState = 'greeting';
  #incoming: Incoming = 'hello';
  #pingId = 0;
  #hello: Buffer | undefined;
  /** `halted`: the stream is paused, and `#rest` was received and not decoded. */
  #reading: 'reading' | 'halted' = 'reading';
  #rest: Buffer | undefined;
  #heldBytes = 0;
  #heldRequests = 0;
  #timer: TimerHandle;
  #progressMs: number;
  /** For logs. */
  #peer: string;

  constructor(options: PeerSessionOptions) {
    const { stream, shared, clock } = options;
    this.#options = options;
    this.#stream = stream;
    this.#shared = shared;
    this.#peer = stream.peerName;
    this.#decoder = new FrameDecoder(this, GREETING_META_BYTES_MAX);
    this.#queue = new SendQueue(stream, shared.pool, shared, (bytes, requests) =>
      this.#sent(bytes, requests),
    );
    const { node, log } = options;
    this.#runner = new RequestRunner(node, this.#queue, shared.pool, this, shared, log);
    this.#progressMs = clock.nowMs();
    this.#timer = clock.setTimer(options.greetingLimitMs, () => this.close('no greeting in time'));
  }

  /** Resolves when the connection is closed and nothing asked on it is running. */
  settled(): Promise<void> {
    return this.#settled.promise;
  }

  close(reason: string): void {
    if (this.#state === 'closed') return;
    this.#options.log.info({ peer: this.#peer, reason }, 'peer connection closed');
    this.#move('closed');
    this.#timer.cancel();
    this.#stream.destroy();
    this.#queue.close();
    this.#rest = undefined;
    this.#shared.forget(this);
    const stillHeld = this.#runner.disconnect();
    const freed = this.#heldBytes - stillHeld;
    this.#heldBytes = stillHeld;
    this.#shared.heldBytes -= freed;
    this.#options.onClose(this);
    if (this.#runner.running === 0) this.#settled.resolve();
    this.#shared.released();
  }

  #move(to: SessionState): void {
    const legal = LEGAL_MOVES[this.#state];
    if (!legal.includes(to)) {
      throw new Error(`peer session ${this.#state} cannot become ${to}, only ${legal.join(', ')}`);
    }
    this.#state = to;
  }

  // The stream's events.

  /** Hot path. */
  onData(chunk: Buffer): void {
    if (this.#state === 'closed') return;
    this.#progressMs = this.#options.clock.nowMs();
    this.#shared.receivedBytes += chunk.length;
    if (this.#reading === 'halted') {
      // The stream may deliver what it had read before it was paused.
      this.#rest =
        this.#rest === undefined ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk]);
      return;
    }
    this.#decode(chunk);
  }

  onDrain(): void {
    this.#queue.drained();
  }

  onClose(error: Error | undefined): void {
    this.close(error === undefined ? 'closed by the peer' : describeError(error));
  }

  /** Hot path. */
  #decode(chunk: Buffer): void {
    const end = this.#decoder.push(chunk, 0);
    if (end < chunk.length && this.#reading === 'halted') {
      this.#rest = Buffer.from(chunk.subarray(end));
    }
    const reason = this.#decoder.brokenReason;
    if (reason !== undefined) this.#broken(reason);
  }

  #broken(reason: string): void {
    if (this.#state === 'closed') return;
    this.#shared.connectionsBroken += 1;
    this.#options.log.warn({ peer: this.#peer, reason }, 'peer sent what it must not');
    this.close(reason);
  }

  // The decoder's events.

  /** Hot path. */
  onHead(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] | undefined {
    if (head.flags !== 0 || head.status !== 0) {
      this.#decoder.fail('an answer where a request must be');
      return undefined;
    }
    if (this.#state !== 'serving') {
      this.#beginHello(head, bytes, metaStart);
      return undefined;
    }
    if (head.type > MessageType.ping) {
      this.#incoming = 'request';
      this.#heldRequests += 1;
      return this.#runner.begin(head, bytes, metaStart);
    }
    if (head.type !== MessageType.ping || head.metaBytes + head.payloadBytes !== 0) {
      this.#decoder.fail(`message type ${head.type} where a request must be`);
    }
    this.#incoming = 'ping';
    this.#pingId = head.requestId;
    return undefined;
  }

  /** Hot path. */
  onFrameEnd(): boolean {
    switch (this.#incoming) {
      case 'request':
        this.#runner.run();
        break;
      case 'ping':
        // Counted like a request: a peer that only pings and never reads is halted as well.
        this.#heldRequests += 1;
        this.#answer(MessageType.ping, STATUS_OK, this.#pingId, NO_META);
        this.#queue.settleWhenSent(0, 1);
        break;
      case 'hello':
        void this.#welcome();
        break;
    }
    if (this.#state === 'closed') return false;
    if (this.mayGoOn()) return true;
    this.#reading = 'halted';
    this.#stream.pause();
    this.#shared.halted(this);
    return false;
  }

  #beginHello(head: FrameHead, bytes: Buffer, metaStart: number): void {
    if (head.type !== MessageType.hello || this.#state !== 'greeting' || head.payloadBytes !== 0) {
      this.#decoder.fail(`message type ${head.type} before the greeting was answered`);
      return;
    }
    this.#incoming = 'hello';
    this.#hello = Buffer.from(bytes.subarray(metaStart, metaStart + head.metaBytes));
  }

  async #welcome(): Promise<void> {
    this.#move('waiting');
    const { identity, inFlight, clusterId, clock, log } = this.#options;
    let version: number;
    try {
      const hello = decodeHello(this.#hello!);
      this.#peer = `${hello.ownName} (${this.#stream.peerName})`;
      version = negotiate(hello, identity.nodeId, clusterId);
      await this.#options.supersede(hello, this);
    } catch (error) {
      log.warn({ peer: this.#peer, reason: describeError(error) }, 'peer refused');
      this.#answer(MessageType.hello, statusOf(error), 0, messageOf(error));
      // The peer closes when it has read why; if it does not, the time for greeting ends.
      return;
    }
    if (this.#state === 'closed') return;
    this.#move('serving');
    this.#timer.cancel();
    this.#watchProgress();
    this.#decoder.allowAll();
    log.info({ peer: this.#peer, version }, 'peer connected');
    const welcome = encodeWelcome({ version, ...identity, ...inFlight });
    this.#progressMs = clock.nowMs();
    this.#answer(MessageType.hello, STATUS_OK, 0, welcome);
  }

  #answer(type: MessageType, status: number, requestId: number, meta: Buffer): void {
    if (this.#state === 'closed') return;
    const metaAt = this.#queue.begin(meta.length);
    meta.copy(this.#queue.buffer, metaAt);
    this.#queue.finish(metaAt, type, FLAG_ANSWER, status, requestId, meta.length, 0);
  }

  #watchProgress(): void {
    const { clock, idleLimitMs } = this.#options;
    this.#timer = clock.setTimer(idleLimitMs / 4, () => {
      const idleMs = clock.nowMs() - this.#progressMs;
      // While the node works there is nothing the peer would have to do.
      if (this.#runner.running === 0 && idleMs > idleLimitMs) {
        this.close(`nothing sent or taken for ${Math.round(idleMs)} ms`);
      } else {
        this.#watchProgress();
      }
    });
  }

  // What the connection holds.

  /** Hot path. True if one more request may be decoded. */
  mayGoOn(): boolean {
    const { heldBytesMax, requestsMax } = this.#options.inFlight;
    return (
      this.#heldBytes < heldBytesMax &&
      this.#heldRequests < requestsMax &&
      (this.#shared.heldBytes < this.#shared.heldBytesMax || this.#heldBytes === 0)
    );
  }

  /** Decodes what was left when reading was halted, and reads on. */
  goOn(): void {
    if (this.#state === 'closed') return;
    this.#reading = 'reading';
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined) this.#decode(rest);
    if (this.#reading === 'reading' && this.#state === 'serving') this.#stream.resume();
  }

  /** Hot path. */
  held(bytes: number): void {
    this.#heldBytes += bytes;
    this.#shared.heldBytes += bytes;
  }

  released(bytes: number): void {
    this.#heldBytes -= bytes;
    this.#shared.heldBytes -= bytes;
    this.#shared.released();
  }

  /** Hot path. */
  answeredRead(): void {
    this.#shared.busyPoll.answered(this.#options.clock.nowMs());
  }

  onIdle(): void {
    this.#settled.resolve();
  }

  /** Hot path, once a flush. */
  #sent(bytes: number, requests: number): void {
    this.#progressMs = this.#options.clock.nowMs();
    this.#heldRequests -= requests;
    this.released(bytes);
  }
}
