/**
 * Writes to sockets that are too much for one turn of the event loop, all sockets together.
 *
 * Owns: cutting them into pieces, and whose piece is next: one piece a turn. Does not own: sockets.
 * Invariants: the pieces of one sender leave in order, each after the one before it was taken;
 * senders take turns.
 *
 * Why: the kernel copies as much as a socket has room for, several MiB, before a write returns, and
 * a flush writes to three sockets in one turn. Whoever else asks for something, a read of a resident
 * block most of all, waits for the end of the turn.
 */

/** 0.15 ms of copying on loopback, twice that when others copy as well. */
export const TURN_BYTES = 512 * 1024;

/** Hot path. */
export function fitsOneTurn(buffers: readonly Buffer[]): boolean {
  let bytes = 0;
  for (let i = 0; i < buffers.length; i += 1) bytes += buffers[i]!.length;
  return bytes <= TURN_BYTES;
}

/** Buffers cut into pieces of at most `TURN_BYTES`; no bytes are copied. */
export function cut(buffers: readonly Buffer[]): Buffer[][] {
  const pieces: Buffer[][] = [];
  let piece: Buffer[] = [];
  let room = TURN_BYTES;
  for (const buffer of buffers) {
    for (let at = 0; at < buffer.length; ) {
      const bytes = Math.min(room, buffer.length - at);
      piece.push(bytes === buffer.length ? buffer : buffer.subarray(at, at + bytes));
      at += bytes;
      room -= bytes;
      if (room > 0) continue;
      pieces.push(piece);
      piece = [];
      room = TURN_BYTES;
    }
  }
  if (piece.length > 0) pieces.push(piece);
  return pieces;
}

const waiting: (() => void)[] = [];

/** Calls `send`, which sends one piece, in a turn in which nobody else sends one. */
export function inTurn(send: () => void): void {
  waiting.push(send);
  if (waiting.length === 1) setImmediate(next);
}

function next(): void {
  waiting.shift()!();
  if (waiting.length > 0) setImmediate(next);
}
