/**
 * Where a connection's bytes arrive and wait to be understood.
 *
 * Owns: the bytes received and not yet taken, `bytes[start..end)`, and the place for the next ones.
 * Does not own: their meaning.
 * Invariants: while nothing is left over, bytes arrive in the pool's shared buffer; a rest lives in
 * a buffer of the connection's own. The place for the next bytes changes only in `settle`, that is
 * inside the receive callback, because the socket holds on to the place it was last told.
 * There is always room for at least one byte.
 */
import { type BufferPool, RECEIVE_BYTES } from './buffer-pool.ts';

/** What is free at least behind a rest that is complete and only waits for its turn. */
const ROOM_BYTES_MIN = 16 * 1024;
export class ReceiveBuffer {
  readonly #pool: BufferPool;
  bytes: Buffer;
  start = 0;
  end = 0;
  #target: Buffer;
  /** Where the target ends in `bytes`. */
  #targetEnd: number;
  #isHandedOver = false;

  constructor(pool: BufferPool) {
    this.#pool = pool;
    this.bytes = pool.shared;
    this.#target = pool.shared;
    this.#targetEnd = pool.shared.length;
  }

  /** Where the socket puts the next bytes. */
  get target(): Buffer {
    return this.#target;
  }

  /** Hot path. The socket has put `byteCount` bytes to the target. */
  arrived(byteCount: number): void {
    this.end += byteCount;
  }

  /**
   * Hot path. Finds the place for the next bytes, after all that could be understood was taken.
   * `neededBytes` is the length of the request at `start`, as far as known; 0 if its bytes are all
   * there and it only has to wait.
   */
  settle(neededBytes: number): void {
    const restBytes = this.end - this.start;
    if (restBytes === 0) {
      this.release();
      return;
    }
    const wholeBytes = neededBytes > restBytes ? neededBytes : restBytes + ROOM_BYTES_MIN;
    const isOwn = this.bytes !== this.#pool.shared;
    if (!isOwn || wholeBytes > this.bytes.length) {
      const wider = this.#pool.take(Math.max(wholeBytes, RECEIVE_BYTES));
      this.bytes.copy(wider, 0, this.start, this.end);
      if (isOwn) this.#pool.give(this.bytes);
      this.bytes = wider;
      this.start = 0;
      this.end = restBytes;
    } else if (this.start + wholeBytes > this.bytes.length) {
      this.bytes.copyWithin(0, this.start, this.end);
      this.start = 0;
      this.end = restBytes;
    }
    // Behind a request that takes most of the buffer would only be a part of the next, to be copied.
    const isAlone = neededBytes > restBytes && wholeBytes * 2 >= this.bytes.length;
    this.#targetEnd = isAlone ? this.start + wholeBytes : this.bytes.length;
    this.#target = this.bytes.subarray(this.end, this.#targetEnd);
  }

  /**
   * Gives the request `bytes[start..end)` its buffer, to look at and to give back to the pool;
   * `undefined` if something else is in it, may come into it, or it is too large for the request.
   * What is in it can be read until `settle`.
   */
  handOver(start: number, end: number): Buffer | undefined {
    const { bytes } = this;
    const isFull = end === this.end && end === this.#targetEnd;
    if (bytes === this.#pool.shared || !isFull || (end - start) * 2 < bytes.length) {
      return undefined;
    }
    this.#isHandedOver = true;
    return bytes;
  }

  /** Hot path. Gives up what is left and the buffer of its own. */
  release(): void {
    const shared = this.#pool.shared;
    if (this.bytes !== shared) {
      if (!this.#isHandedOver) this.#pool.give(this.bytes);
      this.#isHandedOver = false;
      this.bytes = shared;
      this.#target = shared;
      this.#targetEnd = shared.length;
    }
    this.start = 0;
    this.end = 0;
  }
}
