/**
 * The calls of one client on their way to the node and back.
 *
 * Owns: calls in flight and waiting, their limits, encoding them, and settling them with their
 * answers. Does not own: the connection, nor what an operation is called outside (`peer-client.ts`).
 * Invariants: calls are sent in the order in which they were made, on every connection anew from
 * the oldest that was not answered; one waits as long as those before it do not fit.
 */
import type { Clock } from '../runtime/clock.ts';
import { DroverError } from '../runtime/drover-error.ts';
import { dataPlaces } from './block-places.ts';
import { Call, type CallBody, CallList, SLOTS_MAX } from './call-list.ts';
import { errorOf, STATUS_OK } from './error-codes.ts';
import type { Welcome } from './greeting.ts';
import {
  dataBlocksIn,
  decodeReadAnswer,
  encodeRead,
  encodeWrite,
  READ_BYTES,
  writeMetaBytes,
} from './hot-messages.ts';
import type { InFlightLimits } from './limits.ts';
import type { FrameUser } from './link-stream.ts';
import type { OperationStats, PeerClientStats } from './peer-stats.ts';
import type { SendQueue } from './send-queue.ts';
import { type FrameHead, MessageType } from './wire.ts';

/** What the answer being received will do. */
type Answer =
  | { readonly name: 'none' }
  | { readonly name: 'value'; readonly call: Call; readonly value: unknown }
  | {
      readonly name: 'cold';
      readonly call: Call;
      readonly body: CallBody & { name: 'cold' };
      readonly meta: Buffer;
      readonly payload: Buffer;
    }
  | { readonly name: 'error'; readonly call: Call; readonly error: DroverError };

const NO_ANSWER: Answer = { name: 'none' };
const NO_BYTES = Buffer.alloc(0);

export interface CallPipeOptions {
  readonly nodeId: string;
  readonly clock: Clock;
  readonly inFlight: InFlightLimits;
  readonly waitingCallsMax: number;
  readonly stats: PeerClientStats;
  /** The answer being received makes no sense: the connection is of no use. */
  refuseAnswer(reason: string): void;
}

export class CallPipe implements FrameUser {
  readonly #options: CallPipeOptions;
  readonly #calls = new CallList();
  #queue: SendQueue | undefined;
  #requestsMax = 0;
  #heldBytesMax = 0;
  #answer: Answer = NO_ANSWER;
  lastAnswerMs: number;

  constructor(options: CallPipeOptions) {
    this.#options = options;
    this.lastAnswerMs = options.clock.nowMs();
  }

  /** Calls made and not settled. */
  get outstanding(): number {
    return this.#calls.sentCount + this.#calls.waitingCount;
  }

  /** When the oldest of them was made. */
  get oldestMadeMs(): number | undefined {
    return this.#calls.oldest?.madeMs;
  }

  /** Rejects all calls. The connection on which they were sent must be gone. Returns how many. */
  rejectAll(why: string): number {
    const calls = this.#calls.takeAll();
    for (const call of calls) call.reject(this.#unavailable(why));
    return calls.length;
  }

  #unavailable(why: string): DroverError {
    return new DroverError('unavailable', `node ${this.#options.nodeId}: ${why}`);
  }

  /** Hot path, but for the promise that the interface asks for. */
  call<Answered>(body: CallBody, heldBytes: number, stats: OperationStats): Promise<Answered> {
    return new Promise<Answered>((resolve, reject) => {
      if (this.#calls.waitingCount >= this.#options.waitingCallsMax) {
        reject(this.#unavailable('too many calls wait for it'));
        return;
      }
      const nowMs = this.#options.clock.nowMs();
      this.#calls.add(new Call(body, heldBytes, stats, resolve, reject, nowMs));
      this.#pump();
    });
  }

  /** Hot path. Sends calls in their order while there is room in flight. */
  #pump(): void {
    const queue = this.#queue;
    if (queue === undefined) return;
    const calls = this.#calls;
    let call = calls.unsent;
    while (call !== undefined && this.#hasRoom(call)) {
      calls.markSent(call);
      if (call.sentMs !== 0) this.#options.stats.resends += 1;
      call.sentMs = this.#options.clock.nowMs();
      this.#send(queue, call);
      call = calls.unsent;
    }
  }

  /** Hot path. A call larger than the limit goes alone. */
  #hasRoom(call: Call): boolean {
    const { sentCount, sentBytes } = this.#calls;
    if (sentCount === 0) return true;
    return sentCount < this.#requestsMax && sentBytes + call.heldBytes <= this.#heldBytesMax;
  }

  /** Hot path. */
  #send(queue: SendQueue, call: Call): void {
    const { body, requestId } = call;
    switch (body.name) {
      case 'write': {
        const { request } = body;
        const metaBytes = writeMetaBytes(request);
        const at = queue.begin(metaBytes);
        encodeWrite(queue.buffer, at, request);
        queue.finish(at, MessageType.write, 0, STATUS_OK, requestId, metaBytes, call.heldBytes);
        queue.payload(request.payload);
        break;
      }
      case 'read': {
        const at = queue.begin(READ_BYTES);
        encodeRead(queue.buffer, at, body.request);
        queue.finish(at, MessageType.read, 0, STATUS_OK, requestId, READ_BYTES, 0);
        break;
      }
      case 'cold': {
        const { meta, payload } = body.message;
        let payloadBytes = 0;
        for (const buffer of payload) payloadBytes += buffer.length;
        const at = queue.begin(meta.length);
        meta.copy(queue.buffer, at);
        queue.finish(at, body.operation.type, 0, STATUS_OK, requestId, meta.length, payloadBytes);
        queue.payload(payload);
        break;
      }
    }
  }

  get traffic(): PeerClientStats {
    return this.#options.stats;
  }

  onUp(queue: SendQueue, welcome: Welcome): void {
    const { inFlight } = this.#options;
    this.#requestsMax = Math.min(inFlight.requestsMax, welcome.requestsMax, SLOTS_MAX);
    this.#heldBytesMax = Math.min(inFlight.heldBytesMax, welcome.heldBytesMax);
    this.#queue = queue;
    this.#pump();
  }

  onLost(): void {
    this.#queue = undefined;
    this.#answer = NO_ANSWER;
    this.#calls.unsendAll();
  }

  /** Hot path. */
  onHead(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] | undefined {
    const call = this.#calls.find(head.requestId);
    if (call === undefined || head.type !== typeOf(call.body)) {
      this.#options.refuseAnswer(`an answer to request ${head.requestId}, which was not asked`);
      return undefined;
    }
    if (head.status !== STATUS_OK) {
      const message = bytes.toString('utf8', metaStart, metaStart + head.metaBytes);
      this.#answer = {
        name: 'error',
        call,
        error: errorOf(head.status, message, this.#options.nodeId),
      };
      return undefined;
    }
    switch (call.body.name) {
      case 'write':
        if (head.metaBytes + head.payloadBytes !== 0) break;
        this.#answer = { name: 'value', call, value: undefined };
        return undefined;
      case 'read': {
        const { request, into } = call.body;
        const { metaBytes, payloadBytes } = head;
        const { blockCount } = request;
        const value = decodeReadAnswer(bytes, metaStart, metaBytes, payloadBytes, blockCount);
        if (value === undefined) break;
        this.#answer = { name: 'value', call, value };
        return dataPlaces(into, value.kinds, dataBlocksIn(value.kinds));
      }
      case 'cold': {
        const meta = Buffer.from(bytes.subarray(metaStart, metaStart + head.metaBytes));
        const { payloadBytes } = head;
        const payload = payloadBytes === 0 ? NO_BYTES : Buffer.allocUnsafeSlow(payloadBytes);
        this.#answer = { name: 'cold', call, body: call.body, meta, payload };
        return [payload];
      }
    }
    this.#options.refuseAnswer(`an answer to a ${call.body.name} that does not add up`);
    return undefined;
  }

  /** Hot path. */
  onFrameEnd(): boolean {
    const answer = this.#answer;
    this.#answer = NO_ANSWER;
    if (answer.name === 'none') return true;
    const { call } = answer;
    this.#calls.remove(call);
    const nowMs = this.#options.clock.nowMs();
    this.lastAnswerMs = nowMs;
    call.stats.observe(nowMs - call.sentMs);
    if (answer.name === 'value') {
      call.resolve(answer.value as never);
    } else if (answer.name === 'error') {
      call.stats.errors += 1;
      call.reject(answer.error);
    } else {
      this.#settleCold(answer);
    }
    this.#pump();
    return true;
  }

  #settleCold({ call, body, meta, payload }: Answer & { name: 'cold' }): void {
    try {
      call.resolve(body.operation.decodeAnswer(meta, payload, body.request) as never);
    } catch (error) {
      // Asking again would bring the same: the caller learns what is wrong with this node.
      const message = `node ${this.#options.nodeId}: ${body.operation.name}: an answer that makes no sense`;
      call.reject(new DroverError('corrupt', message, error));
    }
  }
}

/** Hot path. */
function typeOf(body: CallBody): number {
  switch (body.name) {
    case 'write':
      return MessageType.write;
    case 'read':
      return MessageType.read;
    case 'cold':
      return body.operation.type;
  }
}
