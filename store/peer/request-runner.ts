/**
 * The requests of one connection: from their frames to the node and back into answers.
 *
 * Owns: decoding a request, checking its payload, calling the node, encoding the answer, and the
 * count of calls that are running. Does not own: the connection, its greeting, or its limits; it
 * tells `held` and `released` what it holds.
 *
 * Invariants: `run` calls the node before it returns, so calls are in order of arrival. A request
 * whose payload does not match its checksums never reaches the node. Every request is answered
 * once, unless the connection ends first. Payload is used again only when the node has fulfilled its
 * promise: a call that failed may leave it in somebody's hands.
 */
import type { ReplicaNode } from '../engine/replica-node.ts';
import type { ReadRequest, ReadResult, WriteRequest } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import { DroverError, describeError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import { badBlock, dataPlaces } from './block-places.ts';
import type { BufferPool } from './buffer-pool.ts';
import { type AnyOperation, coldOperations } from './cold-messages.ts';
import { messageOf, STATUS_OK, statusOf } from './error-codes.ts';
import {
  dataBlocksIn,
  decodeRead,
  decodeWrite,
  encodeReadAnswer,
  readAnswerMetaBytes,
} from './hot-messages.ts';
import type { SendQueue } from './send-queue.ts';
import { FLAG_ANSWER, type FrameHead, MessageType } from './wire.ts';

/** Whoever bounds what is held; counts for the whole server as well. */
export interface RunnerOwner {
  held(bytes: number): void;
  /** A call ended after the connection had: its bytes are free without being sent. */
  released(bytes: number): void;
  /** A read was answered: more may follow soon. */
  answeredRead(): void;
  /** No call is running any more. */
  onIdle(): void;
}

export interface RunnerCounters {
  requests: number;
  errors: number;
  corruptRequests: number;
}

/** The request whose frame is being received. */
type Incoming =
  | { readonly name: 'none' }
  | { readonly name: 'write'; readonly request: WriteRequest }
  | { readonly name: 'read'; readonly request: ReadRequest }
  | {
      readonly name: 'cold';
      readonly operation: AnyOperation;
      readonly meta: Buffer;
      readonly payload: readonly Buffer[];
    }
  | { readonly name: 'refused'; readonly type: number; readonly error: unknown };

const NONE: Incoming = { name: 'none' };
const NO_BUFFERS: readonly Buffer[] = [];

export class RequestRunner {
  readonly #node: ReplicaNode;
  readonly #queue: SendQueue;
  readonly #pool: BufferPool;
  readonly #owner: RunnerOwner;
  readonly #counters: RunnerCounters;
  readonly #log: Logger;
  #incoming: Incoming = NONE;
  #requestId = 0;
  #heldBytes = 0;
  #running = 0;
  #runningBytes = 0;
  #connection: 'open' | 'closed' = 'open';

  constructor(
    node: ReplicaNode,
    queue: SendQueue,
    pool: BufferPool,
    owner: RunnerOwner,
    counters: RunnerCounters,
    log: Logger,
  ) {
    this.#node = node;
    this.#queue = queue;
    this.#pool = pool;
    this.#owner = owner;
    this.#counters = counters;
    this.#log = log;
  }

  /** Calls of the node that have not ended. */
  get running(): number {
    return this.#running;
  }

  /** The connection is gone: what is running ends without an answer. Returns the bytes it holds. */
  disconnect(): number {
    this.#connection = 'closed';
    const incoming = this.#incoming;
    this.#incoming = NONE;
    // Only the decoder has these, and it decodes nothing any more.
    if (incoming.name === 'write') this.#pool.give(incoming.request.payload);
    if (incoming.name === 'cold') this.#pool.give(incoming.payload);
    return this.#runningBytes;
  }

  /** Hot path. A request begins; returns where its payload goes. */
  begin(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] | undefined {
    this.#requestId = head.requestId;
    this.#counters.requests += 1;
    try {
      switch (head.type) {
        case MessageType.write:
          return this.#beginWrite(head, bytes, metaStart);
        case MessageType.read:
          this.#beginRead(head, bytes, metaStart);
          return undefined;
        default:
          return this.#beginCold(head, bytes, metaStart);
      }
    } catch (error) {
      if (!(error instanceof DroverError)) throw error;
      this.#incoming = { name: 'refused', type: head.type, error };
      this.#hold(0);
      return undefined;
    }
  }

  /** Hot path. */
  #beginWrite(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] {
    const { metaBytes, payloadBytes } = head;
    const payload: Buffer[] = [];
    const request = decodeWrite(bytes, metaStart, metaBytes, payloadBytes, payload);
    this.#pool.take(payloadBytes, payload);
    this.#incoming = { name: 'write', request };
    this.#hold(payloadBytes);
    return payload;
  }

  /** Hot path. */
  #beginRead(head: FrameHead, bytes: Buffer, metaStart: number): void {
    if (head.payloadBytes !== 0) throw new DroverError('invalid', 'a read with a payload');
    const request = decodeRead(bytes, metaStart, head.metaBytes);
    this.#incoming = { name: 'read', request };
    this.#hold(request.blockCount * BLOCK_BYTES);
  }

  #beginCold(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] | undefined {
    const operation = coldOperations.get(head.type);
    if (operation === undefined) {
      throw new DroverError('invalid', `unknown message type ${head.type}`);
    }
    if (head.payloadBytes % BLOCK_BYTES !== 0) {
      throw new DroverError('invalid', `a payload of ${head.payloadBytes} bytes`);
    }
    const meta = Buffer.from(bytes.subarray(metaStart, metaStart + head.metaBytes));
    const payload: Buffer[] = [];
    this.#pool.take(head.payloadBytes, payload);
    this.#incoming = { name: 'cold', operation, meta, payload };
    this.#hold(head.payloadBytes);
    return payload;
  }

  #hold(bytes: number): void {
    this.#heldBytes = bytes;
    this.#owner.held(bytes);
  }

  /** Hot path. The request begun is complete: the node is called, or the request refused. */
  run(): void {
    const incoming = this.#incoming;
    const requestId = this.#requestId;
    const heldBytes = this.#heldBytes;
    this.#incoming = NONE;
    this.#running += 1;
    this.#runningBytes += heldBytes;
    switch (incoming.name) {
      case 'write':
        this.#runWrite(incoming.request, requestId, heldBytes);
        break;
      case 'read':
        this.#runRead(incoming.request, requestId, heldBytes);
        break;
      case 'cold':
        void this.#runCold(incoming, requestId, heldBytes);
        break;
      case 'refused':
        this.#answerError(incoming.type, requestId, heldBytes, incoming.error);
        break;
      case 'none':
        throw new Error('a frame ended that never began');
    }
  }

  /** Hot path. */
  #runWrite(request: WriteRequest, requestId: number, heldBytes: number): void {
    const bad = badBlock(request.payload, request.blockCrcs);
    if (bad >= 0) {
      this.#pool.give(request.payload);
      const error = this.#corrupt(`data block ${bad} was received with another checksum`);
      this.#answerError(MessageType.write, requestId, heldBytes, error);
      return;
    }
    this.#node.write(request).then(
      () => {
        this.#pool.give(request.payload);
        if (!this.#ended(heldBytes)) return;
        const metaAt = this.#queue.begin(0);
        this.#queue.finish(metaAt, MessageType.write, FLAG_ANSWER, STATUS_OK, requestId, 0, 0);
        this.#queue.settleWhenSent(heldBytes, 1);
      },
      (error) => {
        this.#pool.lose(request.payload);
        this.#answerError(MessageType.write, requestId, heldBytes, error);
      },
    );
  }

  /** Hot path. */
  #runRead(request: ReadRequest, requestId: number, heldBytes: number): void {
    const into: Buffer[] = [];
    this.#pool.take(heldBytes, into);
    this.#node.read(request, into).then(
      (result) => this.#answerRead(result, into, requestId, heldBytes),
      (error) => {
        this.#pool.lose(into);
        this.#answerError(MessageType.read, requestId, heldBytes, error);
      },
    );
  }

  /** Hot path. */
  #answerRead(
    result: ReadResult,
    into: readonly Buffer[],
    requestId: number,
    heldBytes: number,
  ): void {
    if (!this.#ended(heldBytes)) {
      this.#pool.give(into);
      return;
    }
    const queue = this.#queue;
    const { kinds } = result;
    const dataBlocks = dataBlocksIn(kinds);
    const metaBytes = readAnswerMetaBytes(kinds.length, dataBlocks);
    const payloadBytes = dataBlocks * BLOCK_BYTES;
    const metaAt = queue.begin(metaBytes);
    encodeReadAnswer(queue.buffer, metaAt, result, dataBlocks);
    const { read } = MessageType;
    queue.finish(metaAt, read, FLAG_ANSWER, STATUS_OK, requestId, metaBytes, payloadBytes);
    if (queue.payload(dataPlaces(into, kinds, dataBlocks))) this.#pool.give(into);
    else queue.poolWhenSent(into);
    queue.settleWhenSent(heldBytes, 1);
    this.#owner.answeredRead();
  }

  async #runCold(
    incoming: Incoming & { name: 'cold' },
    requestId: number,
    requestBytes: number,
  ): Promise<void> {
    const { operation, meta, payload } = incoming;
    let heldBytes = requestBytes;
    let payloadIs: 'here' | 'with the node' = 'here';
    try {
      const request = operation.decodeRequest(meta, payload);
      const extraBytes = operation.extraBytes(request);
      heldBytes += extraBytes;
      this.#runningBytes += extraBytes;
      this.#owner.held(extraBytes);
      payloadIs = 'with the node';
      const result = await operation.run(this.#node, request);
      payloadIs = 'here';
      const answer = operation.encodeAnswer(result);
      if (!this.#ended(heldBytes)) return;
      this.#answer(operation.type, STATUS_OK, requestId, heldBytes, answer.meta, answer.payload);
    } catch (error) {
      if (error instanceof DroverError && error.kind === 'corrupt') {
        this.#counters.corruptRequests += 1;
      }
      this.#answerError(operation.type, requestId, heldBytes, error);
    } finally {
      if (payloadIs === 'here') this.#pool.give(payload);
      else this.#pool.lose(payload);
    }
  }

  #corrupt(message: string): DroverError {
    this.#counters.corruptRequests += 1;
    this.#log.warn({}, message);
    return new DroverError('corrupt', message);
  }

  #answerError(type: number, requestId: number, heldBytes: number, error: unknown): void {
    this.#counters.errors += 1;
    if (!(error instanceof DroverError)) {
      this.#log.warn({ error: describeError(error) }, 'the node failed without a reason of a kind');
    }
    if (!this.#ended(heldBytes)) return;
    this.#answer(type, statusOf(error), requestId, heldBytes, messageOf(error), NO_BUFFERS);
  }

  #answer(
    type: number,
    status: number,
    requestId: number,
    heldBytes: number,
    meta: Buffer,
    payload: readonly Buffer[],
  ): void {
    const queue = this.#queue;
    const metaAt = queue.begin(meta.length);
    meta.copy(queue.buffer, metaAt);
    let payloadBytes = 0;
    for (const buffer of payload) payloadBytes += buffer.length;
    queue.finish(metaAt, type, FLAG_ANSWER, status, requestId, meta.length, payloadBytes);
    queue.payload(payload);
    queue.settleWhenSent(heldBytes, 1);
  }

  /** Hot path. A call has ended; false if there is nobody left to answer. */
  #ended(heldBytes: number): boolean {
    this.#running -= 1;
    this.#runningBytes -= heldBytes;
    if (this.#connection === 'open') return true;
    this.#owner.released(heldBytes);
    if (this.#running === 0) this.#owner.onIdle();
    return false;
  }
}
