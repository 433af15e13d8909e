/**
 * Live blocks on their way out of a segment that is cleaned: their bytes and their new records.
 *
 * Owns: one buffer for as many blocks as are moved at once, used again after `clear`. Invariant:
 * the buffer does not change between `take` and `clear`, while it is written to the log.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import { alignedBuffer } from '../runtime/aligned-buffer.ts';
import { Append } from './append.ts';
import { type BlockSource, RecordType } from './log-record.ts';
import type { ObjectIndex } from './object-index.ts';
import { BlockKind, type Extent } from './store-node.ts';

interface Move {
  readonly layerId: number;
  readonly objectIndex: number;
  readonly block: number;
  readonly source: BlockSource;
  readonly crc: number;
  /** Where the block's bytes are in the buffer. */
  readonly slot: number;
}

export class RelocationBatch {
  readonly #buffer: Buffer;
  #moves: Move[] = [];

  constructor(byteCount: number) {
    this.#buffer = alignedBuffer(byteCount);
  }

  get bytes(): number {
    return this.#moves.length * BLOCK_BYTES;
  }

  get isFull(): boolean {
    return this.bytes + BLOCK_BYTES > this.#buffer.length;
  }

  add(
    layerId: number,
    objectIndex: number,
    block: number,
    source: BlockSource,
    crc: number,
    bytes: Buffer,
  ): void {
    const slot = this.#moves.length;
    bytes.copy(this.#buffer, slot * BLOCK_BYTES);
    this.#moves.push({ layerId, objectIndex, block, source, crc, slot });
  }

  /** One record for each object, its blocks in order. */
  take(index: ObjectIndex): Append[] {
    const sorted = this.#moves.toSorted(
      (a, b) => a.layerId - b.layerId || a.objectIndex - b.objectIndex || a.block - b.block,
    );
    const records: Append[] = [];
    let start = 0;
    for (let end = 1; end <= sorted.length; end += 1) {
      const first = sorted[start]!;
      const next = sorted[end];
      if (next?.layerId === first.layerId && next.objectIndex === first.objectIndex) continue;
      records.push(this.#record(index, sorted.slice(start, end)));
      start = end;
    }
    return records;
  }

  clear(): void {
    this.#moves = [];
  }

  #record(index: ObjectIndex, moves: readonly Move[]): Append {
    const { layerId, objectIndex } = moves[0]!;
    const record = new Append(RecordType.relocate, index.pin(layerId, objectIndex));
    const extents: Extent[] = [];
    const sources: BlockSource[] = [];
    let last: Move | undefined;
    for (const move of moves) {
      const extent = extents.at(-1);
      const goesOn =
        last !== undefined &&
        last.block + 1 === move.block &&
        last.source.position + 1 === move.source.position;
      if (extent !== undefined && goesOn) {
        extents[extents.length - 1] = { ...extent, blockCount: extent.blockCount + 1 };
      } else {
        extents.push({ startBlock: move.block, blockCount: 1, kind: BlockKind.data });
        sources.push(move.source);
      }
      last = move;
    }
    record.extents = extents;
    record.sources = sources;
    record.blockCrcs = Uint32Array.from(moves, (move) => move.crc);
    record.payload = this.#payload(moves);
    return record;
  }

  /** As few buffers as there are runs of neighbouring slots. */
  #payload(moves: readonly Move[]): Buffer[] {
    const payload: Buffer[] = [];
    let start = 0;
    for (let end = 1; end <= moves.length; end += 1) {
      if (moves[end]?.slot === moves[end - 1]!.slot + 1) continue;
      const first = moves[start]!.slot;
      const last = moves[end - 1]!.slot;
      payload.push(this.#buffer.subarray(first * BLOCK_BYTES, (last + 1) * BLOCK_BYTES));
      start = end;
    }
    return payload;
  }
}
