/**
 * How many blocks of each segment are live: pointed to by an object.
 *
 * Owns: the counts and their sum. There are two sets of them: of the state in memory, and of what
 * the index on disk holds; replay starts from the second and ends with the first, exactly.
 * Invariant: no count is negative.
 */
import assert from 'node:assert';

export class LiveCounts {
  readonly #blocks = new Map<number, number>();
  #total = 0;

  get totalBlocks(): number {
    return this.#total;
  }

  of(segmentId: number): number {
    return this.#blocks.get(segmentId) ?? 0;
  }

  /** Hot path. */
  add(segmentId: number, blocks: number): void {
    const now = (this.#blocks.get(segmentId) ?? 0) + blocks;
    if (now < 0) assert.fail(`segment ${segmentId} has ${now} live blocks`);
    if (now === 0) this.#blocks.delete(segmentId);
    else this.#blocks.set(segmentId, now);
    this.#total += blocks;
  }

  addAll(changes: ReadonlyMap<number, number>): void {
    for (const [segmentId, blocks] of changes) this.add(segmentId, blocks);
  }

  entries(): IterableIterator<[number, number]> {
    return this.#blocks.entries();
  }
}

/** Adds to a map of differences. */
export function countIn(changes: Map<number, number>, segmentId: number, blocks: number): void {
  changes.set(segmentId, (changes.get(segmentId) ?? 0) + blocks);
}
