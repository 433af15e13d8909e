/**
 * Page-aligned buffers for payload, used again and again.
 *
 * Owns: the pieces of memory that buffers are lent from, how many there are, and letting go of
 * those that are not needed. Does not own: a buffer that is lent; whoever took it gives it back when
 * nobody can look at it any more, or says that it is lost.
 *
 * Any number of pages is lent as a list of buffers that add up to exactly that: powers of two,
 * largest first. So the log can be written from it past the page cache, nothing is cut off or
 * rounded up, and no long run of free memory is ever needed. Memory is added only when no page is
 * free, so there is never more than was lent at once, but for what was lost: a piece is let go of
 * when half of it is, and left to the collector with whoever still holds a part of it.
 */
import { ALIGNMENT_BYTES } from '../runtime/aligned-buffer.ts';
import { PAYLOAD_BUFFER_BYTES_MAX, PAYLOAD_PIECE_BYTES } from './limits.ts';
import { orderOf, PayloadPiece } from './payload-piece.ts';

const LOST_PAGES_MAX = PAYLOAD_PIECE_BYTES / ALIGNMENT_BYTES / 2;

export class BufferPool {
  readonly #spareBytesMax: number;
  /** Earlier ones are lent from first, so that later ones become free as a whole. */
  readonly #pieces: PayloadPiece[] = [];
  readonly #pieceOf = new Map<ArrayBufferLike, PayloadPiece>();
  #sparePages = 0;

  /** A piece of which nothing is lent is kept while no more than this is spare. */
  constructor(spareBytesMax: number) {
    this.#spareBytesMax = spareBytesMax;
  }

  /** All memory that it has, lent, spare or lost. */
  get totalBytes(): number {
    return this.#pieces.length * PAYLOAD_PIECE_BYTES;
  }

  get spareBytes(): number {
    return this.#sparePages * ALIGNMENT_BYTES;
  }

  /** Hot path. Adds buffers of any content to `into` that are `bytes`, whole pages, together. */
  take(bytes: number, into: Buffer[]): void {
    if (bytes % ALIGNMENT_BYTES !== 0) throw new Error(`${bytes} bytes are not whole pages`);
    let left = bytes;
    while (left > 0) {
      const buffer = this.#takeOne(orderOf(Math.min(left, PAYLOAD_BUFFER_BYTES_MAX)));
      left -= buffer.length;
      this.#sparePages -= buffer.length / ALIGNMENT_BYTES;
      into.push(buffer);
    }
  }

  /** Hot path. A buffer of this order, or a smaller one if no such run is free. */
  #takeOne(orderMax: number): Buffer {
    const pieces = this.#pieces;
    for (let order = orderMax; order >= 0; order -= 1) {
      for (let i = 0; i < pieces.length; i += 1) {
        const buffer = pieces[i]!.take(order);
        if (buffer !== undefined) return buffer;
      }
    }
    return this.#addPiece().take(orderMax)!;
  }

  #addPiece(): PayloadPiece {
    const piece = new PayloadPiece();
    this.#pieces.push(piece);
    this.#pieceOf.set(piece.memory, piece);
    this.#sparePages += piece.freePages;
    return piece;
  }

  /** Hot path. Takes buffers back that nobody looks at any more. */
  give(buffers: readonly Buffer[]): void {
    for (let i = 0; i < buffers.length; i += 1) {
      const buffer = buffers[i]!;
      const piece = this.#pieceOf.get(buffer.buffer);
      // Of a piece that was let go of.
      if (piece === undefined) continue;
      piece.give(buffer);
      this.#sparePages += buffer.length / ALIGNMENT_BYTES;
      if (piece.lentPages === 0 && this.spareBytes > this.#spareBytesMax) this.#letGo(piece);
    }
  }

  /** These may be in somebody's hands for ever: they are not lent again. */
  lose(buffers: readonly Buffer[]): void {
    for (const buffer of buffers) {
      const piece = this.#pieceOf.get(buffer.buffer);
      if (piece === undefined) continue;
      piece.lose(buffer);
      if (piece.lostPages > LOST_PAGES_MAX) this.#letGo(piece);
    }
  }

  #letGo(piece: PayloadPiece): void {
    this.#sparePages -= piece.freePages;
    this.#pieces.splice(this.#pieces.indexOf(piece), 1);
    this.#pieceOf.delete(piece.memory);
  }
}
