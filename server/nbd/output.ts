/**
 * A connection's bytes on their way to the client.
 *
 * Owns: replies not yet taken by the kernel, and when they are written: gathered, one write a turn.
 * Does not own: what they say (`replies.ts`).
 * Invariants: bytes leave in the order in which they were put; one write is under way at a time; a
 * buffer that the kernel has not taken whole is not touched. `unsentBytes` counts all of them.
 *
 * Almost always the kernel takes a write at once; then `writableLength` is 0 right after it, and
 * the buffer is free again without waiting for a callback.
 */
import { type BufferPool, OUTPUT_BYTES } from './buffer-pool.ts';

/** What of `net.Socket` is used; a test has one of its own. */
export interface OutputSocket {
  readonly writableLength: number;
  write(bytes: Uint8Array, onWritten: (error?: Error | null) => void): boolean;
  cork(): void;
  uncork(): void;
}

/** Bytes that all connections of the server hold together. */
export interface HeldBytes {
  total: number;
}

/** Below this, copying a reply's payload costs less than a write of its own. */
const COPY_BYTES_MAX = 16 * 1024;

const NO_BUFFER = Buffer.alloc(0);

export class Output {
  readonly #socket: OutputSocket;
  readonly #pool: BufferPool;
  readonly #held: HeldBytes;
  readonly #onTaken: () => void;
  /** Of the buffers that are taken to be filled. */
  bufferBytes = OUTPUT_BYTES;
  /** The buffer being filled, up to `used`. */
  bytes: Buffer = NO_BUFFER;
  used = 0;
  /** Full buffers and large payloads, in order, ahead of `bytes`. */
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  /** The pool's buffers in which the bytes of `#queue` lie. */
  #queuedLoans: Buffer[] = [];
  /** What the socket has and the kernel has not. */
  #writingBytes = 0;
  #writingLoans: Buffer[] = [];
  /** Writes told and answered; the socket answers them in order. */
  #writesTold = 0;
  #writesAnswered = 0;
  readonly #onWritten = (error?: Error | null) => {
    // After a failed write the socket closes, which its owner is told.
    if (error === undefined || error === null) this.#written();
  };

  /** `onTaken` is called when the kernel has taken what it could not take at once. */
  constructor(socket: OutputSocket, pool: BufferPool, held: HeldBytes, onTaken: () => void) {
    this.#socket = socket;
    this.#pool = pool;
    this.#held = held;
    this.#onTaken = onTaken;
  }

  /** Hot path. */
  get unsentBytes(): number {
    return this.used + this.#queuedBytes + this.#writingBytes;
  }

  /** Hot path. Makes sure of `byteCount` bytes at `used` in `bytes`. */
  reserve(byteCount: number): void {
    if (this.bytes.length - this.used < byteCount) this.#nextBuffer(byteCount);
  }

  /** Puts bytes that will not change any more; large ones are not copied. */
  append(bytes: Buffer): void {
    if (bytes.length <= COPY_BYTES_MAX) {
      this.reserve(bytes.length);
      this.used += bytes.copy(this.bytes, this.used);
      return;
    }
    this.#queueBuffer();
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#held.total += bytes.length;
  }

  /** Gives a buffer of the pool back as soon as the kernel has taken all that was put so far. */
  giveBack(loan: Buffer): void {
    if (this.#queue.length > 0) this.#queuedLoans.push(loan);
    else if (this.#writingBytes > 0) this.#writingLoans.push(loan);
    else this.#pool.give(loan);
  }

  /** Hot path. Hands everything to the socket, unless a write is under way. */
  flush(): void {
    if (this.#writingBytes > 0) return;
    if (this.#queue.length > 0) {
      this.#queueBuffer();
      this.#writeQueue();
    } else if (this.used > 0) {
      const view = this.bytes.subarray(0, this.used);
      this.#writesTold += 1;
      this.#socket.write(view, this.#onWritten);
      if (this.#socket.writableLength === 0) {
        this.#pool.give(this.bytes);
      } else {
        this.#writingBytes = this.used;
        this.#writingLoans.push(this.bytes);
        this.#held.total += this.used;
      }
      this.bytes = NO_BUFFER;
      this.used = 0;
    }
  }

  /** The connection is over: what is unsent counts no more, and its buffers are not used again. */
  discard(): void {
    this.#held.total -= this.#queuedBytes + this.#writingBytes;
    this.#queue = [];
    this.#queuedLoans = [];
    this.#writingLoans = [];
    this.#queuedBytes = 0;
    this.#writingBytes = 0;
    this.bytes = NO_BUFFER;
    this.used = 0;
  }

  /** A full buffer is written before the turn's end, and the client gets on meanwhile. */
  #nextBuffer(bytesMin: number): void {
    this.#queueBuffer();
    this.flush();
    this.bytes = this.#pool.take(Math.max(bytesMin, this.bufferBytes));
  }

  /** Moves what is in the buffer being filled to the end of the queue. */
  #queueBuffer(): void {
    if (this.used > 0) {
      let loan = this.bytes;
      const isWaiting = this.#writingBytes > 0;
      if (this.used <= COPY_BYTES_MAX || (isWaiting && this.used * 2 < this.bytes.length)) {
        // Few bytes shall not hold so large a buffer until the client takes them.
        loan = this.#pool.take(this.used);
        this.bytes.copy(loan, 0, 0, this.used);
        this.#pool.give(this.bytes);
      }
      this.#queue.push(loan.subarray(0, this.used));
      this.#queuedLoans.push(loan);
      this.#queuedBytes += this.used;
      this.#held.total += this.used;
    } else if (this.bytes !== NO_BUFFER) {
      this.#pool.give(this.bytes);
    }
    this.bytes = NO_BUFFER;
    this.used = 0;
  }

  #writeQueue(): void {
    const queue = this.#queue;
    const loans = this.#queuedLoans;
    const byteCount = this.#queuedBytes;
    this.#queue = [];
    this.#queuedLoans = [];
    this.#queuedBytes = 0;
    this.#socket.cork();
    for (const bytes of queue) {
      this.#writesTold += 1;
      this.#socket.write(bytes, this.#onWritten);
    }
    this.#socket.uncork();
    if (this.#socket.writableLength === 0) {
      this.#held.total -= byteCount;
      for (const loan of loans) this.#pool.give(loan);
    } else {
      this.#writingBytes = byteCount;
      this.#writingLoans = loans;
    }
  }

  #written(): void {
    this.#writesAnswered += 1;
    // The answer to a write that was taken at once comes late and means nothing.
    if (this.#writingBytes === 0 || this.#writesAnswered < this.#writesTold) return;
    this.#held.total -= this.#writingBytes;
    this.#writingBytes = 0;
    for (const loan of this.#writingLoans) this.#pool.give(loan);
    this.#writingLoans = [];
    this.flush();
    this.#onTaken();
  }
}
