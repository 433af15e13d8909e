/**
 * The batch that is being put together or written: its records and how much they are.
 *
 * Owns: which records fit, by the limits of a batch and the room in the segment. Does not own: the
 * queues, or the bytes (batch-encoder.ts). One object is used for every batch of a log.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import type { Append } from './append.ts';
import type { AppendQueue } from './append-queue.ts';
import { headerBlocksOf } from './batch-encoder.ts';
import { BATCH_HEADER_BYTES } from './layouts.ts';
import type { EngineLimits } from './limits.ts';

export class Batch {
  readonly #limits: EngineLimits;
  #records: Append[] = [];
  #headerBytes = BATCH_HEADER_BYTES;
  #payloadBlocks = 0;
  #buffers = 1;

  constructor(limits: EngineLimits) {
    this.#limits = limits;
  }

  get records(): readonly Append[] {
    return this.#records;
  }

  get headerBytes(): number {
    return this.#headerBytes;
  }

  get payloadBlocks(): number {
    return this.#payloadBlocks;
  }

  get bytesOnDisk(): number {
    return (headerBlocksOf(this.#headerBytes) + this.#payloadBlocks) * BLOCK_BYTES;
  }

  /** Hot path. Empties it and returns what was in it. */
  take(): readonly Append[] {
    const records = this.#records;
    this.#records = [];
    this.#headerBytes = BATCH_HEADER_BYTES;
    this.#payloadBlocks = 0;
    this.#buffers = 1;
    return records;
  }

  /** Hot path. Moves what fits from the front of a queue; the first record only needs room. */
  addFrom(queue: AppendQueue, roomBlocks: number): void {
    const limits = this.#limits;
    for (let record = queue.front(); record !== undefined; record = queue.front()) {
      const headerBytes = this.#headerBytes + record.headerBytes;
      const blocks = this.#payloadBlocks + record.dataBlocks;
      const buffers = this.#buffers + record.payload.length;
      if (headerBlocksOf(headerBytes) + blocks > roomBlocks) return;
      const isFull =
        this.#records.length >= limits.batchRecordsMax ||
        headerBytes > limits.batchHeaderBytesMax ||
        blocks * BLOCK_BYTES > limits.batchPayloadBytesMax ||
        buffers > limits.batchBuffersMax;
      if (isFull && this.#records.length > 0) return;
      queue.shift();
      this.#records.push(record);
      this.#headerBytes = headerBytes;
      this.#payloadBlocks = blocks;
      this.#buffers = buffers;
    }
  }
}
