/**
 * Frames on their way out of one connection, gathered so that those of one turn leave together.
 *
 * Owns: encoding space, the order of frames, when a flush happens, and telling what was sent.
 * Does not own: how many frames may be queued; both users bound what they have in flight.
 * Invariants: bytes leave in the order in which frames were begun; a slab is used again only when
 * everything cut from it was sent.
 *
 * A flush runs when the callbacks and microtasks of now are done: a node that answers thirty
 * writes from one group commit, or a caller that sends thirty, does so in one run of microtasks.
 * Measured with 4 KiB writes over loopback, one at a time and 32 at a time: 11,600/s and 172,000/s
 * this way, 10,600/s and 172,000/s at the end of the event loop's turn.
 */
import type { NetworkStream } from '../runtime/network.ts';
import type { BufferPool } from './buffer-pool.ts';
import { COPIED_PAYLOAD_BYTES_MAX, SLAB_BYTES, SPARE_SLABS_MAX } from './limits.ts';
import { HEADER_BYTES, writeHead } from './wire.ts';

/** What one flush took along, to be settled when it was sent. */
interface Batch {
  /** Slabs of which this batch holds the last piece. */
  slabs: Buffer[] | undefined;
  /** Payload to give back to the pool. */
  readonly pooled: Buffer[];
  heldBytes: number;
  requests: number;
}

/**
 * - `idle`: nothing is queued
 * - `scheduled`: a flush runs at the end of this turn
 * - `blocked`: the stream asked to wait; frames gather until it drains
 * - `closed`: the connection is gone; frames are dropped
 */
type QueueState = 'idle' | 'scheduled' | 'blocked' | 'closed';

export class SendQueue {
  readonly #stream: NetworkStream;
  readonly #pool: BufferPool;
  readonly #traffic: { sentBytes: number };
  readonly #onSent: (heldBytes: number, requests: number) => void;
  readonly #flushAtEnd = () => process.nextTick(this.#flushNow);
  readonly #flushNow = () => this.#flush();
  #state: QueueState = 'idle';
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** The part of the slab that is queued begins at `#cut` and ends at `#end`. */
  #cut = 0;
  #end = 0;
  #spareSlabs: Buffer[] = [];
  #vector: Buffer[] = [];
  #batch: Batch = newBatch();
  readonly #unsent = new Set<Batch>();
  /** `onSent` is told what was given to `settleWhenSent`, when it was sent. */
  constructor(
    stream: NetworkStream,
    pool: BufferPool,
    traffic: { sentBytes: number },
    onSent: (heldBytes: number, requests: number) => void,
  ) {
    this.#stream = stream;
    this.#pool = pool;
    this.#traffic = traffic;
    this.#onSent = onSent;
  }

  /** Hot path. The buffer in which `begin` made room. */
  get buffer(): Buffer {
    return this.#slab;
  }

  /** Hot path. Makes room for a frame's header and meta; returns where the meta belongs. */
  begin(metaBytes: number): number {
    return this.#reserve(HEADER_BYTES + metaBytes) + HEADER_BYTES;
  }

  /** Hot path. The meta is in its place: completes the head and schedules the frame. */
  finish(
    metaAt: number,
    type: number,
    flags: number,
    status: number,
    requestId: number,
    metaBytes: number,
    payloadBytes: number,
  ): void {
    const at = metaAt - HEADER_BYTES;
    writeHead(this.#slab, at, type, flags, status, requestId, metaBytes, payloadBytes);
    this.#traffic.sentBytes += HEADER_BYTES + metaBytes + payloadBytes;
    if (this.#state === 'idle') {
      this.#state = 'scheduled';
      queueMicrotask(this.#flushAtEnd);
    }
  }

  /**
   * Hot path. The payload of the frame just finished. True if it was copied, false if the buffers
   * are sent as they are and must not change before that.
   */
  payload(buffers: readonly Buffer[]): boolean {
    let copied = true;
    for (let i = 0; i < buffers.length; i += 1) {
      const buffer = buffers[i]!;
      if (buffer.length <= COPIED_PAYLOAD_BYTES_MAX) {
        const at = this.#reserve(buffer.length);
        buffer.copy(this.#slab, at);
      } else {
        this.#seal();
        this.#vector.push(buffer);
        copied = false;
      }
    }
    return copied;
  }

  /** Hot path. Tells `onSent` of these when everything queued until now was sent. */
  settleWhenSent(heldBytes: number, requests: number): void {
    this.#batch.heldBytes += heldBytes;
    this.#batch.requests += requests;
  }

  /** Hot path. Gives payload back to the pool when everything queued until now was sent. */
  poolWhenSent(buffers: readonly Buffer[]): void {
    const { pooled } = this.#batch;
    for (let i = 0; i < buffers.length; i += 1) pooled.push(buffers[i]!);
  }

  /** The stream may be written to again. */
  drained(): void {
    if (this.#state !== 'blocked') return;
    this.#state = 'idle';
    this.#flush();
  }

  /** The stream was destroyed: it looks at no buffer any more. */
  close(): void {
    this.#state = 'closed';
    this.#vector = [];
    this.#spareSlabs = [];
    for (const batch of [...this.#unsent, this.#batch]) this.#pool.give(batch.pooled);
    this.#unsent.clear();
    this.#batch = newBatch();
  }

  /** Hot path. */
  #reserve(bytes: number): number {
    if (this.#end + bytes > SLAB_BYTES) this.#changeSlab();
    const at = this.#end;
    this.#end += bytes;
    return at;
  }

  #changeSlab(): void {
    this.#seal();
    this.#batch.slabs ??= [];
    this.#batch.slabs.push(this.#slab);
    this.#slab = this.#spareSlabs.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#cut = 0;
    this.#end = 0;
  }

  /** Hot path. Ends the queued piece of the slab, because something else comes behind it. */
  #seal(): void {
    if (this.#end === this.#cut) return;
    this.#vector.push(this.#slab.subarray(this.#cut, this.#end));
    this.#cut = this.#end;
  }

  /** Hot path, once a turn. */
  #flush(): void {
    if (this.#state === 'closed') return;
    this.#state = 'idle';
    this.#seal();
    if (this.#vector.length === 0) return;
    const vector = this.#vector;
    const batch = this.#batch;
    this.#vector = [];
    this.#batch = newBatch();
    this.#unsent.add(batch);
    // Before the write: it may report what was sent, or drain, before it returns.
    this.#state = 'blocked';
    const goOn = this.#stream.write(vector, () => this.#sent(batch));
    if (goOn) this.drained();
  }

  #sent(batch: Batch): void {
    if (this.#state === 'closed') return;
    this.#unsent.delete(batch);
    if (batch.slabs !== undefined) {
      for (const slab of batch.slabs) {
        if (this.#spareSlabs.length < SPARE_SLABS_MAX) this.#spareSlabs.push(slab);
      }
    }
    if (this.#unsent.size === 0 && this.#vector.length === 0 && this.#cut === this.#end) {
      // Nothing is under way: start over at the front, which is in the processor's cache.
      this.#cut = 0;
      this.#end = 0;
    }
    this.#pool.give(batch.pooled);
    if (batch.requests > 0) this.#onSent(batch.heldBytes, batch.requests);
  }
}

function newBatch(): Batch {
  return { slabs: undefined, pooled: [], heldBytes: 0, requests: 0 };
}
