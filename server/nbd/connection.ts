/**
 * One client's connection, from accept to the last operation done for it.
 *
 * Owns: the socket, the handshake's time limit, the opened device, and when each ends. Does not
 * own: what bytes mean (`handshake.ts`, `transmission.ts`).
 * Invariants: every move of the state is a legal one (`connection-state.ts`); the device is closed after its last
 * operation has settled, whatever became of the client.
 */
import type net from 'node:net';
import type { BusyPoll } from '../../store/runtime/busy-poll.ts';
import type { Clock, TimerHandle } from '../../store/runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../../store/runtime/drover-error.ts';
import type { Logger } from '../../store/runtime/logger.ts';
import type { BlockDevice } from '../volume/block-device.ts';
import type { ExportCatalog } from '../volume/export-catalog.ts';
import { moveToOwnBuffers } from './accepted-socket.ts';
import { type BufferPool, OUTPUT_BYTES } from './buffer-pool.ts';
import { assertLegalMove, type ConnectionState } from './connection-state.ts';
import { Handshake, type HandshakeAnswer, type OpenRequest } from './handshake.ts';
import { HandshakeDecoder } from './handshake-decoder.ts';
import type { NbdLimits } from './limits.ts';
import { encodeGreeting } from './option-replies.ts';
import { type HeldBytes, Output } from './output.ts';
import { ReceiveBuffer } from './receive-buffer.ts';
import type { NbdStats } from './stats.ts';
import { Transmission } from './transmission.ts';

/** What all connections of a server share. */
export interface ConnectionParts {
  readonly catalog: ExportCatalog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: NbdLimits;
  readonly stats: NbdStats;
  readonly pool: BufferPool;
  readonly held: HeldBytes;
  readonly busyPoll: BusyPoll;
  /** The last event of a connection. */
  readonly onClosed: (connection: Connection) => void;
}

export class Connection {
  readonly #parts: ConnectionParts;
  readonly #peer: string;
  readonly #socket: net.Socket;
  readonly #input: ReceiveBuffer;
  readonly #output: Output;
  readonly #decoder = new HandshakeDecoder();
  readonly #handshake: Handshake;
  #state: ConnectionState = 'handshaking';
  #isOpening = false;
  #device: BlockDevice | undefined;
  #transmission: Transmission | undefined;
  /** What has happened while the export is being opened: it, the server or the time went away. */
  #whileOpening: 'nothing' | 'shutDown' | 'timeUp' = 'nothing';
  /** The socket was told to stop reading. */
  #isReadingStopped = false;
  #isTurnScheduled = false;
  readonly #endTurn = () => this.#turnEnded();
  readonly #handshakeTimer: TimerHandle;
  /** For the last replies, then for the client's own end. */
  #lingerTimer: TimerHandle | undefined;

  constructor(parts: ConnectionParts, accepted: net.Socket, peer: string) {
    this.#parts = parts;
    this.#peer = peer;
    this.#handshake = new Handshake(parts.catalog);
    this.#input = new ReceiveBuffer(parts.pool);
    this.#socket = moveToOwnBuffers(accepted, {
      target: () => this.#input.target,
      received: (byteCount) => this.#received(byteCount),
    });
    this.#output = new Output(this.#socket, parts.pool, parts.held, () => this.#goOn());
    this.#socket.on('error', (error) => this.#log('debug', describeError(error)));
    this.#socket.on('end', () => this.#inputEnded());
    this.#socket.on('close', () => this.#socketClosed());
    this.#handshakeTimer = parts.clock.setTimer(parts.limits.handshakeMsMax, () =>
      this.#handshakeTimeUp(),
    );
    this.#output.bufferBytes = parts.limits.handshakeReplyBytesMax;
    this.#output.append(encodeGreeting());
    this.#output.flush();
    this.#socket.resume();
  }

  /** The export that was opened; `undefined` before. */
  get exportName(): string | undefined {
    return this.#device?.name;
  }

  /** Ends the connection after its requests under way: the server or the export goes away. */
  shutDown(reason: string): void {
    switch (this.#state) {
      case 'handshaking':
        this.destroy();
        return;
      case 'opening':
        this.#whileOpening = 'shutDown';
        return;
      case 'transmitting':
        this.#log('info', `closing the connection: ${reason}`);
        this.#transmission?.refuseRequests();
        this.#drain();
        return;
      default:
        return;
    }
  }

  /** Ends the connection at once; requests under way are carried out, and not answered. */
  destroy(): void {
    if (this.#isGone()) return;
    this.#move('vanished');
    this.#handshakeTimer.cancel();
    this.#lingerTimer?.cancel();
    this.#transmission?.dropReplies();
    this.#output.discard();
    this.#socket.destroy();
    this.#releaseIfIdle();
  }

  #move(to: ConnectionState): void {
    assertLegalMove(this.#state, to);
    this.#state = to;
  }

  /** Hot path. Bytes have arrived; false to receive no more for now. */
  #received(byteCount: number): boolean {
    this.#input.arrived(byteCount);
    this.#advance();
    this.#input.settle(this.#transmission?.neededBytes ?? 0);
    this.#isReadingStopped = !this.#mayReceive();
    return !this.#isReadingStopped;
  }

  /** Hot path. Takes from the input what can be taken now. */
  #advance(): void {
    switch (this.#state) {
      case 'transmitting':
        this.#transmission!.take(this.#input);
        return;
      case 'handshaking':
        this.#haggle();
        return;
      case 'opening':
        return;
      case 'draining':
        if (this.#transmission === undefined) this.#input.start = this.#input.end;
        else this.#transmission.take(this.#input);
        this.#lingerIfDrained();
        return;
      default:
        this.#input.start = this.#input.end;
    }
  }

  /** Hot path. */
  #mayReceive(): boolean {
    switch (this.#state) {
      case 'transmitting':
      case 'draining':
        return !(this.#transmission?.isPaused ?? false);
      case 'handshaking':
        return this.#mayHaggle();
      case 'opening':
        return false;
      default:
        return true;
    }
  }

  /** A client that asks and reads no answers has to wait. */
  #mayHaggle(): boolean {
    return this.#output.unsentBytes <= this.#parts.limits.handshakeReplyBytesMax;
  }

  /** Something that was waited for has happened: takes what is left, and receives again. */
  #goOn(): void {
    if (this.#isReadingStopped) {
      this.#advance();
      if (this.#mayReceive()) {
        this.#isReadingStopped = false;
        this.#socket.resume();
      }
    }
    this.#output.flush();
    this.#lingerIfDrained();
  }

  #haggle(): void {
    const input = this.#input;
    const decoder = this.#decoder;
    while (this.#state === 'handshaking') {
      if (!this.#mayHaggle()) this.#output.flush();
      if (!this.#mayHaggle()) break;
      input.start = decoder.take(input.bytes, input.start, input.end);
      const message = decoder.nextMessage();
      if (message === undefined) break;
      this.#follow(this.#handshake.answer(message));
    }
    this.#output.flush();
  }

  #follow(answer: HandshakeAnswer): void {
    switch (answer.kind) {
      case 'silence':
        return;
      case 'reply':
        this.#output.append(answer.bytes);
        return;
      case 'open':
        this.#move('opening');
        // Not awaited by anybody: what `#open` does not expect ends the process.
        void this.#open(answer.request);
        return;
      case 'farewell':
        this.#output.append(answer.bytes);
        this.#drain();
        return;
      case 'violation':
        this.#fault(answer.reason);
    }
  }

  async #open(request: OpenRequest): Promise<void> {
    this.#isOpening = true;
    let outcome: BlockDevice | DroverError;
    try {
      outcome = await this.#parts.catalog.open(request.exportName, {
        onDetach: (reason) => this.shutDown(reason),
      });
    } catch (error) {
      if (!isDroverError(error)) throw error;
      outcome = error;
    }
    this.#isOpening = false;
    if (!(outcome instanceof DroverError)) this.#device = outcome;
    if (this.#isGone()) this.#releaseIfIdle();
    else this.#opened(request, outcome);
  }

  #opened(request: OpenRequest, outcome: BlockDevice | DroverError): void {
    if (this.#whileOpening === 'shutDown') {
      this.#follow(this.#handshake.shutDown(request));
      if (!this.#isGone()) this.#drain();
    } else if (outcome instanceof DroverError) {
      this.#log('info', `export '${request.exportName}' not opened: ${describeError(outcome)}`);
      this.#follow(this.#handshake.refused(request, outcome));
      if (!this.#isGone()) this.#move('handshaking');
      if (this.#whileOpening === 'timeUp') this.#handshakeTimeUp();
    } else {
      this.#beginTransmission(request, outcome);
    }
    this.#goOn();
  }

  #beginTransmission(request: OpenRequest, device: BlockDevice): void {
    const description = this.#parts.catalog.find(device.name)?.description ?? '';
    const { bytes, negotiated } = this.#handshake.opened(request, device, description);
    this.#handshakeTimer.cancel();
    this.#move('transmitting');
    this.#output.append(bytes);
    this.#output.bufferBytes = OUTPUT_BYTES;
    const { sizeBytes, isReadOnly } = device;
    this.#transmission = new Transmission({
      ...this.#parts,
      device,
      output: this.#output,
      structuredReplies: negotiated.structuredReplies,
      terms: { sizeBytes, isReadOnly, ...negotiated },
      onSettled: () => this.#settled(),
      onDisconnect: () => this.#disconnected(),
      onViolation: (reason) => this.#fault(reason),
    });
    this.#log('debug', 'attached');
  }

  /** NBD_CMD_DISC. While draining there is nothing left to begin. */
  #disconnected(): void {
    if (this.#state === 'transmitting') this.#drain();
  }

  #drain(): void {
    this.#move('draining');
    this.#output.flush();
    this.#lingerIfDrained();
  }

  #lingerIfDrained(): void {
    if (this.#state !== 'draining' || (this.#transmission?.inFlight ?? 0) > 0) return;
    // From here on only the client is waited for, and not for ever.
    const { clock, limits } = this.#parts;
    if (this.#output.unsentBytes > 0) {
      this.#lingerTimer ??= clock.setTimer(limits.lastRepliesMsMax, () => this.destroy());
      return;
    }
    this.#lingerTimer?.cancel();
    this.#lingerTimer = clock.setTimer(limits.lingerMs, () => this.destroy());
    this.#move('lingering');
    this.#socket.end();
    this.#socket.resume();
  }

  #handshakeTimeUp(): void {
    // While the export is being opened, it is we who take the time.
    if (this.#state === 'opening') this.#whileOpening = 'timeUp';
    else if (this.#state === 'handshaking') this.#fault('the handshake took too long');
  }

  /** The client sends no more. */
  #inputEnded(): void {
    switch (this.#state) {
      case 'handshaking':
      case 'opening':
        this.destroy();
        return;
      case 'transmitting':
        this.#transmission?.endInput();
        this.#drain();
        return;
      default:
        return;
    }
  }

  #socketClosed(): void {
    this.destroy();
    this.#input.release();
  }

  /** A request under way has ended; its reply waits for others of this turn. */
  #settled(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    this.#parts.clock.endOfTurn(this.#endTurn);
  }

  #turnEnded(): void {
    this.#isTurnScheduled = false;
    if (this.#isGone()) this.#releaseIfIdle();
    else this.#goOn();
  }

  #fault(reason: string): void {
    this.#log('warn', `closing the connection: ${reason}`);
    this.#parts.stats.connectionsFaulted += 1;
    this.destroy();
  }

  #isGone(): boolean {
    return this.#state === 'vanished' || this.#state === 'releasing' || this.#state === 'closed';
  }

  /** The socket is gone: closes the device as soon as nothing uses it. */
  #releaseIfIdle(): void {
    const isBusy = this.#isOpening || (this.#transmission?.inFlight ?? 0) > 0;
    if (this.#state !== 'vanished' || isBusy) return;
    this.#move('releasing');
    // Not awaited by anybody: what `#release` does not expect ends the process.
    void this.#release();
  }

  async #release(): Promise<void> {
    try {
      await this.#device?.close();
    } catch (error) {
      if (!isDroverError(error)) throw error;
      this.#log('warn', `the export was not closed cleanly: ${describeError(error)}`);
    }
    this.#move('closed');
    this.#parts.onClosed(this);
  }

  #log(level: 'debug' | 'info' | 'warn', message: string): void {
    const fields = { peer: this.#peer, export: this.exportName };
    this.#parts.logger[level](fields, message);
  }
}
