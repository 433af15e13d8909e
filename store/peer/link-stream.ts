/**
 * One stream of a client to its node, from the attempt to connect to its end.
 *
 * Owns: the stream with its decoder and send queue, and sorting what comes in: the answer to the
 * greeting, pongs, answers to calls. Does not own: when it is made or left (`peer-link.ts`).
 * Invariant: answers to calls are handed on only after the welcome, and nothing is after `destroy`.
 */
import { DroverError } from '../runtime/drover-error.ts';
import type { NetworkStream, StreamEvents } from '../runtime/network.ts';
import { BufferPool } from './buffer-pool.ts';
import { STATUS_OK } from './error-codes.ts';
import { FrameDecoder, type FrameSink } from './frame-decoder.ts';
import { ERROR_MESSAGE_BYTES_MAX } from './limits.ts';
import { SendQueue } from './send-queue.ts';
import { FLAG_ANSWER, type FrameHead, MessageType } from './wire.ts';

/** Where answers to calls go. */
export interface FrameUser extends FrameSink {
  readonly traffic: { receivedBytes: number; sentBytes: number };
}

/** What a stream reports; of one that was left it is ignored. */
export interface LinkStreamOwner {
  received(stream: LinkStream, bytes: number): void;
  welcomed(stream: LinkStream, meta: Buffer, status: number): void;
  ponged(): void;
  failed(stream: LinkStream, error: unknown): void;
}

/** A client sends its callers' buffers, and keeps none of its own. */
const NO_POOL = new BufferPool(0);

export class LinkStream implements StreamEvents, FrameSink {
  readonly #link: LinkStreamOwner;
  readonly #user: FrameUser;
  readonly #decoder: FrameDecoder;
  #stream: NetworkStream | undefined;
  #queue: SendQueue | undefined;
  #frame: 'hello' | 'ping' | 'answer' = 'hello';
  #state: 'greeting' | 'up' | 'left' = 'greeting';
  #welcome: { readonly meta: Buffer; readonly status: number } | undefined;

  constructor(link: LinkStreamOwner, user: FrameUser) {
    this.#link = link;
    this.#user = user;
    this.#decoder = new FrameDecoder(this, ERROR_MESSAGE_BYTES_MAX);
  }

  get queue(): SendQueue {
    return this.#queue!;
  }

  open(stream: NetworkStream): StreamEvents {
    this.#stream = stream;
    this.#queue = new SendQueue(stream, NO_POOL, this.#user.traffic, () => {});
    return this;
  }

  greet(hello: Buffer): void {
    this.send(MessageType.hello, hello);
  }

  send(type: MessageType, meta: Buffer): void {
    const metaAt = this.queue.begin(meta.length);
    meta.copy(this.queue.buffer, metaAt);
    this.queue.finish(metaAt, type, 0, STATUS_OK, 0, meta.length, 0);
  }

  destroy(): void {
    this.#state = 'left';
    this.#stream?.destroy();
    this.#queue?.close();
  }

  /** Hot path. */
  onData(chunk: Buffer): void {
    if (this.#state === 'left') return;
    this.#link.received(this, chunk.length);
    this.#decoder.push(chunk, 0);
    const reason = this.#decoder.brokenReason;
    if (reason !== undefined) this.#link.failed(this, new DroverError('corrupt', reason));
  }

  onDrain(): void {
    this.#queue?.drained();
  }

  onClose(error: Error | undefined): void {
    this.#link.failed(this, error ?? new DroverError('unavailable', 'closed by the node'));
  }

  /** Hot path. */
  onHead(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] | undefined {
    if (head.flags !== FLAG_ANSWER) {
      this.#decoder.fail('a request where an answer must be');
    } else if (this.#state === 'up' && head.type > MessageType.ping) {
      this.#frame = 'answer';
      return this.#user.onHead(head, bytes, metaStart);
    } else if (this.#state === 'up' && head.type === MessageType.ping) {
      this.#frame = 'ping';
    } else if (this.#state === 'greeting' && head.type === MessageType.hello) {
      this.#frame = 'hello';
      const meta = Buffer.from(bytes.subarray(metaStart, metaStart + head.metaBytes));
      this.#welcome = { meta, status: head.status };
    } else {
      this.#decoder.fail(`an answer of type ${head.type} to nothing that was asked`);
    }
    return undefined;
  }

  /** Hot path. */
  onFrameEnd(): boolean {
    switch (this.#frame) {
      case 'answer':
        this.#user.onFrameEnd();
        break;
      case 'ping':
        this.#link.ponged();
        break;
      case 'hello':
        this.#state = 'up';
        this.#decoder.allowAll();
        this.#link.welcomed(this, this.#welcome!.meta, this.#welcome!.status);
        break;
    }
    return this.#state === 'up';
  }

  /** The frame being received makes no sense as an answer. */
  refuse(reason: string): void {
    this.#decoder.fail(reason);
  }
}
