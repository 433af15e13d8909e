/**
 * One read of a range of one object, and the copies that were asked for it.
 *
 * Owns: the attempts, comparing checksums, handing checked bytes to the caller's buffers.
 * Does not own: who is asked; the reader decides.
 */
import { BlockKind, type ReadResult, type Version } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import { badBlocks } from './block-checksums.ts';
import { READ_ROUNDS_MAX } from './limits.ts';
import type { Replica } from './replica.ts';

export interface ReadAttempt {
  readonly replica: Replica;
  readonly expected: Version;
  readonly startedMs: number;
  /** The private buffer; `undefined` if the copy reads into the caller's. */
  readonly scratch: Buffer | undefined;
  readonly into: readonly Buffer[];
  /** The replica was dropped, so its answer does not count. */
  isForgotten: boolean;
}

/** Blocks of a copy that cannot be read or do not match their checksums. */
export interface BadRange {
  readonly replica: Replica;
  readonly expected: Version;
  readonly firstBlock: number;
  readonly blockCount: number;
}

export interface ReadOwner {
  onGood(read: PendingRead, kinds: Uint8Array): void;
  onBadBlocks(read: PendingRead, attempt: ReadAttempt, blocks: readonly number[]): void;
}

export class PendingRead {
  readonly objectIndex: number;
  readonly startBlock: number;
  readonly blockCount: number;
  readonly into: readonly Buffer[];
  readonly startedMs: number;
  readonly done: Promise<Uint8Array>;
  readonly bad: BadRange[] = [];
  firstChoice: Replica | undefined;
  /**
   * Looks for bad blocks of one copy, for somebody who holds the object's gate: so it must not wait
   * for what needs that gate, and the answer of another copy says nothing about this one.
   */
  isHealing = false;
  repaired: Promise<void> | undefined;
  isOver = false;
  /** Waiting until the copies are equal; nobody is asked meanwhile. */
  isSettling = false;
  askedMask = 0;
  triedMask = 0;
  rounds = 0;
  failure: unknown;
  /** The version of what was read; where every block was read by itself, `blockVersions` says it. */
  version: Version | undefined;
  blockVersions: (Version | undefined)[] | undefined;
  readonly attempts: ReadAttempt[] = [];
  resolve!: (kinds: Uint8Array) => void;
  reject!: (error: unknown) => void;
  readonly #owner: ReadOwner;

  constructor(
    owner: ReadOwner,
    objectIndex: number,
    startBlock: number,
    into: readonly Buffer[],
    startedMs: number,
  ) {
    this.startedMs = startedMs;
    this.#owner = owner;
    this.objectIndex = objectIndex;
    this.startBlock = startBlock;
    this.into = into;
    let bytes = 0;
    for (const buffer of into) bytes += buffer.length;
    this.blockCount = bytes / BLOCK_BYTES;
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  static bytesOf(blockCount: number): number {
    return blockCount * BLOCK_BYTES;
  }

  /** The copy asked last that has not answered. */
  get newest(): ReadAttempt | undefined {
    return this.attempts.at(-1);
  }

  /** The caller's memory for one block of the range. */
  place(at: number): Buffer {
    let left = at * BLOCK_BYTES;
    for (const buffer of this.into) {
      if (left < buffer.length) return buffer.subarray(left, left + BLOCK_BYTES);
      left -= buffer.length;
    }
    throw new Error(`block ${at} is outside of a read of ${this.blockCount}`);
  }

  begin(attempt: ReadAttempt): void {
    this.askedMask |= attempt.replica.bit;
    this.attempts.push(attempt);
  }

  end(attempt: ReadAttempt): void {
    this.askedMask &= ~attempt.replica.bit;
    this.attempts.splice(this.attempts.indexOf(attempt), 1);
  }

  endWithFailure(attempt: ReadAttempt, error: unknown): void {
    this.end(attempt);
    this.triedMask |= attempt.replica.bit;
    this.failure = error;
  }

  /** Not to be waited for any more; false if it was not asked. */
  forget(replica: Replica): boolean {
    const attempt = this.attempts.find((asked) => asked.replica === replica);
    if (attempt === undefined) return false;
    attempt.isForgotten = true;
    this.end(attempt);
    return true;
  }

  /** False when the version expected has changed too often. */
  nextRound(): boolean {
    this.rounds += 1;
    return this.rounds <= READ_ROUNDS_MAX;
  }

  noteBad(attempt: ReadAttempt, firstBlock: number, blockCount: number): void {
    const { replica, expected } = attempt;
    this.bad.push({ replica, expected, firstBlock, blockCount });
  }

  onAnswer(attempt: ReadAttempt, result: ReadResult): void {
    const bad = badBlocks(attempt.into, result.kinds, result.blockCrcs);
    if (bad.length > 0) {
      for (const block of bad) this.noteBad(attempt, block, 1);
      this.#owner.onBadBlocks(this, attempt, bad);
      return;
    }
    if (attempt.scratch !== undefined) this.#handOn(attempt.scratch, result.kinds);
    this.version = attempt.expected;
    this.#owner.onGood(this, result.kinds);
  }

  /** Copies the data blocks to their places in the caller's buffers. */
  #handOn(bytes: Buffer, kinds: Uint8Array): void {
    let block = 0;
    for (const buffer of this.into) {
      const blocks = buffer.length / BLOCK_BYTES;
      for (let start = 0; start < blocks; ) {
        if (kinds[block + start] !== BlockKind.data) {
          start += 1;
          continue;
        }
        let end = start + 1;
        while (end < blocks && kinds[block + end] === BlockKind.data) end += 1;
        bytes.copy(
          buffer,
          start * BLOCK_BYTES,
          (block + start) * BLOCK_BYTES,
          (block + end) * BLOCK_BYTES,
        );
        start = end;
      }
      block += blocks;
    }
  }
}
