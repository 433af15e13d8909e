/**
 * Bytes in, frames out; no I/O.
 *
 * Owns: collecting a frame from chunks cut anywhere, the bounds of its sizes, its checksum.
 * Does not own: what a frame means (the sink), nor the payload's checksums.
 * Invariants: at most one header and meta are held here (`META_BYTES_MAX`); payload goes straight
 * to where the sink wants it. Once broken, nothing is decoded any more.
 */
import { META_BYTES_MAX, PAYLOAD_BYTES_MAX } from './limits.ts';
import { type FrameHead, HEADER_BYTES, headMatches, readHead } from './wire.ts';

export interface FrameSink {
  /**
   * A frame begins. `head` and the meta, which stands in `bytes` from `metaStart` on, are only
   * valid during the call. Returns where the payload goes: buffers that add up to
   * `head.payloadBytes`, or undefined to drop it. `decoder.fail` refuses the frame.
   */
  onHead(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] | undefined;
  /** The frame is complete. False stops decoding behind it, until the next `push`. */
  onFrameEnd(): boolean;
}

interface HeadState {
  readonly name: 'head';
  /** How much of header and meta is in `#partial`. */
  held: number;
}
interface PayloadState {
  readonly name: 'payload';
  targets: readonly Buffer[] | undefined;
  targetIndex: number;
  targetOffset: number;
  bytesLeft: number;
}
interface BrokenState {
  readonly name: 'broken';
  readonly reason: string;
}
type DecoderState = HeadState | PayloadState | BrokenState;

export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #headState: HeadState = { name: 'head', held: 0 };
  readonly #payloadState: PayloadState = {
    name: 'payload',
    targets: undefined,
    targetIndex: 0,
    targetOffset: 0,
    bytesLeft: 0,
  };
  readonly #head: FrameHead = {
    type: 0,
    flags: 0,
    status: 0,
    requestId: 0,
    metaBytes: 0,
    payloadBytes: 0,
  };
  #state: DecoderState = this.#headState;
  #partial: Buffer = Buffer.allocUnsafe(256);
  #metaBytesMax: number;

  /** `metaBytesMax` bounds the meta of frames until `allowAll`. */
  constructor(sink: FrameSink, metaBytesMax: number) {
    this.#sink = sink;
    this.#metaBytesMax = metaBytesMax;
  }

  /** Lets frames be as large as the protocol allows: the peer has said who it is. */
  allowAll(): void {
    this.#metaBytesMax = META_BYTES_MAX;
  }

  /** Why decoding ended, if it did. */
  get brokenReason(): string | undefined {
    return this.#state.name === 'broken' ? this.#state.reason : undefined;
  }

  fail(reason: string): void {
    if (this.#state.name !== 'broken') this.#state = { name: 'broken', reason };
  }

  /** Hot path. Decodes from `start` on; returns where it stopped, before the end only if told to. */
  push(chunk: Buffer, start: number): number {
    let at = start;
    while (at < chunk.length) {
      const state = this.#state;
      switch (state.name) {
        case 'head': {
          const before = at;
          at = state.held === 0 ? this.#headInChunk(chunk, at) : this.#headInParts(chunk, at);
          if (at < 0) return this.#holdHead(chunk, before);
          if (this.#state.name !== 'payload') break;
          if (this.#payloadState.bytesLeft === 0 && !this.#endFrame()) return at;
          break;
        }
        case 'payload': {
          at = this.#takePayload(state, chunk, at);
          if (state.bytesLeft === 0 && !this.#endFrame()) return at;
          break;
        }
        case 'broken':
          return chunk.length;
      }
    }
    return at;
  }

  /** Hot path. Reads a head that lies whole in the chunk; returns its end, or -1 if it does not. */
  #headInChunk(chunk: Buffer, at: number): number {
    if (chunk.length - at < HEADER_BYTES) return -1;
    if (!this.#readHeader(chunk, at)) return at;
    const end = at + HEADER_BYTES + this.#head.metaBytes;
    if (end > chunk.length) return -1;
    this.#begin(chunk, at);
    return end;
  }

  /** Goes on with a head of which earlier chunks had a part; returns where it stopped. */
  #headInParts(chunk: Buffer, at: number): number {
    const state = this.#headState;
    let next = at;
    if (state.held < HEADER_BYTES) {
      next = this.#fillPartial(chunk, next, HEADER_BYTES);
      if (state.held < HEADER_BYTES) return next;
    }
    if (!this.#readHeader(this.#partial, 0)) return next;
    const headBytes = HEADER_BYTES + this.#head.metaBytes;
    next = this.#fillPartial(chunk, next, headBytes);
    if (state.held === headBytes) {
      state.held = 0;
      this.#begin(this.#partial, 0);
    }
    return next;
  }

  /** Keeps the rest of a chunk that ends within a head. */
  #holdHead(chunk: Buffer, at: number): number {
    const bytes = chunk.length - at;
    this.#fillPartial(chunk, at, bytes);
    return chunk.length;
  }

  /** Copies until `#partial` holds `wanted` bytes or the chunk ends; returns where it stopped. */
  #fillPartial(chunk: Buffer, at: number, wanted: number): number {
    const state = this.#headState;
    if (this.#partial.length < wanted) {
      const larger = Buffer.allocUnsafe(Math.max(wanted, this.#partial.length * 2));
      this.#partial.copy(larger, 0, 0, state.held);
      this.#partial = larger;
    }
    const bytes = Math.min(wanted - state.held, chunk.length - at);
    chunk.copy(this.#partial, state.held, at, at + bytes);
    state.held += bytes;
    return at + bytes;
  }

  /** Hot path. False if the header is refused; the decoder is broken then. */
  #readHeader(bytes: Buffer, at: number): boolean {
    const head = this.#head;
    if (!readHead(bytes, at, head)) {
      this.fail('no frame header where one must be');
    } else if (head.metaBytes > this.#metaBytesMax) {
      this.fail(`${head.metaBytes} bytes of meta; ${this.#metaBytesMax} are allowed`);
    } else if (head.payloadBytes > PAYLOAD_BYTES_MAX) {
      this.fail(`${head.payloadBytes} bytes of payload; ${PAYLOAD_BYTES_MAX} are allowed`);
    } else {
      return true;
    }
    return false;
  }

  /** Hot path. Header and meta are complete in `bytes`. */
  #begin(bytes: Buffer, at: number): void {
    const head = this.#head;
    if (!headMatches(bytes, at, head.metaBytes)) {
      this.fail('the checksum of a frame header does not match');
      return;
    }
    const targets = this.#sink.onHead(head, bytes, at + HEADER_BYTES);
    if (this.#state.name === 'broken') return;
    const payload = this.#payloadState;
    payload.targets = targets;
    payload.targetIndex = 0;
    payload.targetOffset = 0;
    payload.bytesLeft = head.payloadBytes;
    this.#state = payload;
  }

  /** Hot path. Copies payload to its targets; returns where it stopped in the chunk. */
  #takePayload(state: PayloadState, chunk: Buffer, start: number): number {
    const end = Math.min(chunk.length, start + state.bytesLeft);
    state.bytesLeft -= end - start;
    const targets = state.targets;
    if (targets === undefined) return end;
    let at = start;
    while (at < end) {
      const target = targets[state.targetIndex]!;
      const bytes = Math.min(end - at, target.length - state.targetOffset);
      chunk.copy(target, state.targetOffset, at, at + bytes);
      at += bytes;
      state.targetOffset += bytes;
      if (state.targetOffset === target.length) {
        state.targetIndex += 1;
        state.targetOffset = 0;
      }
    }
    return end;
  }

  /** Hot path. False if the sink wants no more for now. */
  #endFrame(): boolean {
    this.#payloadState.targets = undefined;
    this.#state = this.#headState;
    const goOn = this.#sink.onFrameEnd();
    return goOn;
  }
}
