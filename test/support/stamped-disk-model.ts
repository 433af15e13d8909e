/**
 * What a disk may hold after a crash.
 *
 * Owns: for each block, the operations submitted to it since the last one known to be durable, and
 * the judgement over what is read afterwards. Does not own the disk: it is told what was submitted,
 * what was answered and what a flush covers.
 * Invariants: one operation in flight for each block, so its operations have an order; a block's
 * history starts with the newest operation known to be durable; a flush makes durable what was
 * answered before the flush was submitted, FUA makes durable itself.
 *
 * The rule (the second half of what a user is promised of a crash): a block holds its value at the
 * last answered FLUSH or that of a later submitted operation, and once read it does not change back.
 */

export const STAMPED_BLOCK_BYTES = 4096;

/** What a block reads as that was never written, or trimmed, or zeroed. */
export const ZERO_STAMP = 0;

const UNANSWERED = Number.POSITIVE_INFINITY;

/** One operation on one block: a stamp, and when it was answered (counted in answers). */
interface BlockOperation {
  readonly stamp: number;
  answeredAt: number;
}

export interface Operation {
  readonly startBlock: number;
  readonly blockCount: number;
  readonly stamp: number;
  readonly blocks: readonly BlockOperation[];
}

/** Fills `blockCount` blocks: each 16 bytes hold the block's number and the stamp. */
export function stampedBytes(startBlock: number, blockCount: number, stamp: number): Buffer {
  const bytes = Buffer.alloc(blockCount * STAMPED_BLOCK_BYTES);
  if (stamp === ZERO_STAMP) return bytes;
  for (let index = 0; index < blockCount; index++) {
    const block = bytes.subarray(index * STAMPED_BLOCK_BYTES, (index + 1) * STAMPED_BLOCK_BYTES);
    block.writeBigUInt64LE(BigInt(startBlock + index), 0);
    block.writeBigUInt64LE(BigInt(stamp), 8);
    block.copyWithin(16, 0, 16);
    for (let filled = 32; filled < block.length; filled *= 2) block.copyWithin(filled, 0, filled);
  }
  return bytes;
}

/** The stamp that `bytes` holds throughout; an error if it is torn or another block's. */
export function stampOf(blockNumber: number, bytes: Buffer): number {
  const number = Number(bytes.readBigUInt64LE(0));
  const stamp = Number(bytes.readBigUInt64LE(8));
  if (bytes.compare(bytes, 0, bytes.length - 16, 16, bytes.length) !== 0) {
    throw new Error(
      `block ${blockNumber} is torn: it starts as stamp ${stamp} and goes on otherwise`,
    );
  }
  if (stamp === ZERO_STAMP && number === 0) return ZERO_STAMP;
  if (number !== blockNumber) {
    throw new Error(`block ${blockNumber} holds block ${number} with stamp ${stamp}`);
  }
  return stamp;
}

export class StampedDiskModel {
  readonly blockCount: number;
  readonly #histories: BlockOperation[][];
  readonly #busy: Uint8Array;
  #lastStamp = ZERO_STAMP;
  #answers = 0;
  #durableAnswers = 0;

  constructor(blockCount: number) {
    this.blockCount = blockCount;
    this.#busy = new Uint8Array(blockCount);
    this.#histories = Array.from({ length: blockCount }, () => [
      { stamp: ZERO_STAMP, answeredAt: 0 },
    ]);
  }

  /** True if none of the blocks has an operation in flight. */
  isIdle(startBlock: number, blockCount: number): boolean {
    return !this.#busy.subarray(startBlock, startBlock + blockCount).includes(1);
  }

  submitWrite(startBlock: number, blockCount: number): Operation {
    this.#lastStamp += 1;
    return this.#submit(startBlock, blockCount, this.#lastStamp);
  }

  /** A trim or a write of zeros: the blocks read as zeros from its answer on. */
  submitZero(startBlock: number, blockCount: number): Operation {
    return this.#submit(startBlock, blockCount, ZERO_STAMP);
  }

  #submit(startBlock: number, blockCount: number, stamp: number): Operation {
    if (!this.isIdle(startBlock, blockCount)) throw new Error('two operations on one block');
    const blocks: BlockOperation[] = [];
    for (let block = startBlock; block < startBlock + blockCount; block++) {
      const operation = { stamp, answeredAt: UNANSWERED };
      this.#busy[block] = 1;
      this.#histories[block]!.push(operation);
      blocks.push(operation);
    }
    return { startBlock, blockCount, stamp, blocks };
  }

  /** `operation` was answered with success; `fua` if it asked to be durable by then. */
  answered(operation: Operation, fua: boolean): void {
    this.#answers += 1;
    for (const block of operation.blocks) block.answeredAt = fua ? 0 : this.#answers;
    this.#busy.fill(0, operation.startBlock, operation.startBlock + operation.blockCount);
  }

  /** Keeps operations off the blocks while they are read; returns the stamps that must be read. */
  readSubmitted(startBlock: number, blockCount: number): number[] {
    if (!this.isIdle(startBlock, blockCount)) throw new Error('a read during an operation');
    this.#busy.fill(1, startBlock, startBlock + blockCount);
    const histories = this.#histories.slice(startBlock, startBlock + blockCount);
    return histories.map((history) => history.at(-1)!.stamp);
  }

  readAnswered(startBlock: number, blockCount: number): void {
    this.#busy.fill(0, startBlock, startBlock + blockCount);
  }

  /** To be kept from the moment a flush is submitted until it is answered. */
  flushSubmitted(): number {
    return this.#answers;
  }

  flushAnswered(submittedAt: number): void {
    this.#durableAnswers = Math.max(this.#durableAnswers, submittedAt);
  }

  /** The server died: what is in flight stays unanswered for ever. */
  crashed(): void {
    this.#busy.fill(0);
  }

  /** Everything answered so far is durable: a clean stop. */
  stoppedCleanly(): void {
    this.#durableAnswers = this.#answers;
  }

  /**
   * Judges what was read from `blockNumber` after a restart and takes it as the block's value from
   * now on. Returns true if operations that were submitted are missing from it.
   */
  readAfterCrash(blockNumber: number, bytes: Buffer): boolean {
    const stamp = stampOf(blockNumber, bytes);
    const history = this.#histories[blockNumber]!;
    const durableAt = history.findLastIndex((entry) => entry.answeredAt <= this.#durableAnswers);
    const foundAt = history.findLastIndex((entry) => entry.stamp === stamp);
    if (foundAt < durableAt || foundAt === -1) {
      const told = history.map((entry) => `${entry.stamp}@${entry.answeredAt}`).join(' ');
      throw new Error(
        `block ${blockNumber} holds stamp ${stamp}, older than what was made durable: ` +
          `stamp ${history[durableAt]!.stamp} (stamp@answer: ${told}; durable up to answer ${this.#durableAnswers})`,
      );
    }
    const missing = foundAt < history.length - 1;
    this.#histories[blockNumber] = [{ stamp, answeredAt: 0 }];
    return missing;
  }

  /** Forgets what durable operations have replaced, to keep long runs small. */
  forgetReplaced(): void {
    for (const history of this.#histories) {
      const durableAt = history.findLastIndex((entry) => entry.answeredAt <= this.#durableAnswers);
      history.splice(0, durableAt);
    }
  }
}
