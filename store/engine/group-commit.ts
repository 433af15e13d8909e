/**
 * The end of the log: records become batches, and a batch is one synced write.
 *
 * Owns: the queues, the place where the next batch goes, and settling records. One batch is being
 * written at a time; what arrives meanwhile forms the next one. Does not own: whether a record is
 * allowed (write-admission.ts), segments (segment-pool.ts).
 *
 * Records that take space wait in `#writes`; all others in `#urgent`, which goes first, so that a
 * trim, an epoch or cleaning is not held up by writes that wait for room. Both keep the order of an
 * object's records: one that follows a waiting write of its object waits behind it.
 *
 * Invariants: a record is applied to the index and then resolved, only after its batch is durable,
 * whole batches in one turn; `place` is where the next batch goes and all batches before it are
 * applied; batch numbers grow by one over the life of the node.
 *
 * A batch that met a full disk is undone: the segment is cut where the batch began, durably, before
 * the next batch takes its number, so that no replay finds two batches of one number. After any
 * other error the log is over: what was written is unknown until the directory is opened again.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import type { Clock } from '../runtime/clock.ts';
import { DroverError } from '../runtime/drover-error.ts';
import type { Append } from './append.ts';
import { AppendQueue } from './append-queue.ts';
import { applyRecord, type EngineState, lsnOf } from './apply-record.ts';
import { Batch } from './batch.ts';
import { BatchEncoder, headerBlocksOf } from './batch-encoder.ts';
import type { EngineStats } from './engine-stats.ts';
import type { EngineLimits } from './limits.ts';
import type { LogPosition } from './log-position.ts';
import { RecordType } from './log-record.ts';
import { FIRST_POSITION } from './segment-header.ts';
import { isNoSpace, type LogSegment, type SegmentPool } from './segment-pool.ts';
import type { SpaceBudget } from './space-budget.ts';

export interface GroupCommitOptions {
  readonly state: EngineState;
  readonly pool: SegmentPool;
  readonly budget: SpaceBudget;
  readonly limits: EngineLimits;
  readonly clock: Clock;
  readonly stats: EngineStats;
  /** Where replay ended; `segment` is undefined if the log must go on in a new one. */
  readonly place: LogPosition;
  readonly segment: LogSegment | undefined;
  /** Writes wait for room, or for a checkpoint to unpin memory. */
  readonly onBlocked: (why: 'space' | 'memory') => void;
  /** A batch was applied. */
  readonly onProgress: () => void;
  /** The disk failed: nothing more will be written. */
  readonly onFailure: (error: DroverError) => void;
}

/**
 * `idle` → `scheduled` → `opening` (the next segment) → `writing` → `idle`; `stopped` for good
 * after a failure or a close. `scheduled` lasts to the end of the microtasks that are queued: what
 * one callback asks for shares a batch. Waiting to the end of the event loop's turn cost a lone
 * write 7 µs of 130 and made batches of 32 writers no larger.
 */
type Phase = 'idle' | 'scheduled' | 'opening' | 'writing' | 'stopped';

export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #encoder = new BatchEncoder();
  readonly #urgent = new AppendQueue();
  readonly #writes = new AppendQueue();
  readonly #segmentBlocks: number;
  #phase: Phase = 'idle';
  #segment: LogSegment | undefined;
  #segmentId: number;
  #position: number;
  #batchSeq: number;
  readonly #batch: Batch;
  #batchesInSegment = 0;
  #writeStartMs = 0;
  #idleWaiters: (() => void)[] = [];
  readonly #startScheduled = (): void => {
    if (this.#phase === 'scheduled') this.#startBatch();
  };

  constructor(options: GroupCommitOptions) {
    this.#options = options;
    this.#batch = new Batch(options.limits);
    this.#segmentBlocks = options.limits.segmentBytes / BLOCK_BYTES;
    this.#segment = options.segment;
    this.#segmentId = options.place.segmentId;
    this.#position = options.place.position;
    this.#batchSeq = options.place.batchSeq;
  }

  /** Everything before it is applied to the index. */
  get place(): LogPosition {
    return { segmentId: this.#segmentId, position: this.#position, batchSeq: this.#batchSeq };
  }

  /** What the current segment will still take of the filesystem. */
  get growthBytes(): number {
    if (this.#segment === undefined) return 0;
    const reachedBytes = Math.max(this.#segment.allocatedBytes, this.#position * BLOCK_BYTES);
    return this.#options.limits.segmentBytes - reachedBytes;
  }

  get queuedRecords(): number {
    return this.#urgent.length + this.#writes.length + this.#batch.records.length;
  }

  get hasBlockedWrites(): boolean {
    return this.#phase === 'idle' && this.#writes.length > 0;
  }

  /** Hot path. Queues a record that was admitted; it settles later. */
  enqueue(record: Append): void {
    record.enterQueue();
    if (record.takesSpace) {
      this.#options.budget.queuedBlocks += record.dataBlocks;
      this.#writes.push(record);
    } else {
      this.#urgent.push(record);
    }
    this.wake();
  }

  /** Looks again at what waits: room was made, memory was unpinned. */
  wake(): void {
    if (this.#phase !== 'idle') return;
    this.#phase = 'scheduled';
    queueMicrotask(this.#startScheduled);
  }

  /** Refuses every write that waits for room: there is none to be made. */
  refuseBlockedWrites(error: DroverError): void {
    if (!this.hasBlockedWrites) return;
    this.#rejectAll(this.#writes.takeAll(), error);
    this.#becomeIdle();
  }

  /** Resolves when nothing is queued or being written; at once after `stop`. */
  async drained(): Promise<void> {
    while (this.#phase !== 'stopped' && (this.#phase !== 'idle' || this.queuedRecords > 0)) {
      await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
    }
  }

  /** Rejects all that is queued and takes nothing more. */
  stop(error: DroverError): void {
    this.#phase = 'stopped';
    const batch = this.#batch.take();
    this.#rejectAll([...batch, ...this.#urgent.takeAll(), ...this.#writes.takeAll()], error);
    this.#tellIdle();
  }

  /** After `stop`, or when drained. */
  async close(): Promise<void> {
    this.#phase = 'stopped';
    const segment = this.#segment;
    this.#segment = undefined;
    await segment?.file.close();
  }

  /** Hot path. */
  #startBatch(): void {
    const { budget } = this.#options;
    if (this.#segment !== undefined) {
      this.#collect(this.#segmentBlocks - this.#position);
      if (this.#batch.records.length > 0) {
        this.#writeBatch(this.#segment);
        return;
      }
    }
    if (this.#urgent.length > 0) {
      this.#openSegment();
    } else if (this.#writes.length === 0) {
      this.#becomeIdle();
    } else if (this.#isMemoryFull()) {
      this.#becomeIdle();
      this.#options.onBlocked('memory');
    } else if (budget.mayOpenSegment) {
      this.#openSegment();
    } else {
      this.#becomeIdle();
      this.#options.onBlocked('space');
    }
  }

  /** Hot path. Puts the next batch together. */
  #collect(roomBlocks: number): void {
    this.#batch.addFrom(this.#urgent, roomBlocks);
    // Behind an urgent record that did not fit, a write must not slip in: it may follow it.
    if (this.#urgent.length > 0 || this.#isMemoryFull()) return;
    if (this.#options.budget.mayFillSegment) {
      this.#batch.addFrom(this.#writes, roomBlocks);
    }
  }

  /** Hot path. */
  #writeBatch(segment: LogSegment): void {
    const { records, headerBytes, payloadBlocks } = this.#batch;
    const header = this.#encoder.encode(records, headerBytes, payloadBlocks, {
      nonce: segment.nonce,
      segmentId: segment.segmentId,
      position: this.#position,
      batchSeq: this.#batchSeq,
    });
    const vector: Buffer[] = [header];
    for (let i = 0; i < records.length; i += 1) {
      const { payload } = records[i]!;
      for (let j = 0; j < payload.length; j += 1) vector.push(payload[j]!);
    }
    this.#phase = 'writing';
    this.#writeStartMs = this.#options.clock.nowMs();
    segment.file
      .write(vector, this.#position * BLOCK_BYTES)
      .then(this.#onDurable, this.#onWriteError);
  }

  /** Hot path. */
  readonly #onDurable = (): void => {
    if (this.#phase === 'stopped') return;
    const { state, budget, onProgress } = this.#options;
    this.#countBatch();
    let position = this.#position + headerBlocksOf(this.#batch.headerBytes);
    const records = this.#batch.take();
    for (let i = 0; i < records.length; i += 1) {
      const record = records[i]!;
      const lsn = lsnOf(this.#batchSeq, i);
      applyRecord(state, record, record.entry, this.#segmentId, position, lsn);
      position += record.dataBlocks;
      if (record.takesSpace) budget.queuedBlocks -= record.dataBlocks;
    }
    this.#position = position;
    this.#batchSeq += 1;
    this.#batchesInSegment += 1;
    for (let i = 0; i < records.length; i += 1) records[i]!.resolve();
    this.#goOn();
    onProgress();
  };

  /** Hot path. */
  #countBatch(): void {
    const { stats, clock } = this.#options;
    const { records, payloadBlocks, bytesOnDisk } = this.#batch;
    stats.syncSeconds.observe((clock.nowMs() - this.#writeStartMs) / 1000);
    stats.batchRecords.observe(records.length);
    stats.batches += 1;
    stats.appends += records.length;
    stats.payloadBytes += payloadBlocks * BLOCK_BYTES;
    stats.appendedBytes += bytesOnDisk;
  }

  readonly #onWriteError = (error: unknown): void => {
    if (this.#phase === 'stopped') return;
    this.#options.stats.writeErrors += 1;
    if (!isNoSpace(error)) {
      this.#fail(error);
      return;
    }
    this.#undoBatch(error).catch((undoError: unknown) => this.#fail(undoError));
  };

  /** The filesystem is full, although it had told otherwise: the log goes on in another segment. */
  async #undoBatch(cause: unknown): Promise<void> {
    const segment = this.#segment!;
    await segment.file.truncate(this.#position * BLOCK_BYTES);
    await segment.file.sync();
    await segment.file.close();
    if (this.#phase === 'stopped') return;
    this.#segment = undefined;
    await this.#options.pool.refreshSpace();
    const batch = this.#batch.take();
    const error = new DroverError('outOfSpace', 'the filesystem is full', cause);
    // Changes of one object build on one another: none of them may outlive another's refusal.
    this.#rejectAll(
      [
        ...batch.filter((record) => isObjectChange(record) || record.type === RecordType.relocate),
        ...this.#urgent.takeWhere(isObjectChange),
        ...this.#writes.takeAll(),
      ],
      error,
    );
    const later = this.#urgent.takeAll();
    for (const record of [...batch, ...later]) if (!record.isSettled) this.#urgent.push(record);
    this.#goOn();
  }

  #openSegment(): void {
    const ready = this.#options.pool.takeReady();
    if (ready !== undefined) {
      this.#goOnIn(ready).catch((error: unknown) => this.#fail(error));
      return;
    }
    this.#phase = 'opening';
    this.#options.pool.take().then(
      (segment) => this.#goOnIn(segment).catch((error: unknown) => this.#fail(error)),
      (error: unknown) => this.#onNoSegment(error),
    );
  }

  async #goOnIn(segment: LogSegment): Promise<void> {
    const old = this.#segment;
    if (this.#phase === 'stopped') {
      await segment.file.close();
      return;
    }
    this.#segment = segment;
    this.#segmentId = segment.segmentId;
    this.#position = FIRST_POSITION;
    const { limits, pool } = this.#options;
    pool.prepare(this.#batchesInSegment * limits.bulkBatchBytes > limits.segmentBytes);
    this.#batchesInSegment = 0;
    this.#phase = 'scheduled';
    this.#startBatch();
    await old?.file.close();
  }

  #onNoSegment(error: unknown): void {
    if (this.#phase === 'stopped') return;
    if (!(error instanceof DroverError) || error.kind !== 'outOfSpace') {
      this.#fail(error);
      return;
    }
    this.#rejectAll([...this.#urgent.takeAll(), ...this.#writes.takeAll()], error);
    this.#goOn();
  }

  #goOn(): void {
    this.#phase = 'idle';
    if (this.#urgent.length > 0 || this.#writes.length > 0) this.wake();
    else this.#tellIdle();
  }

  #becomeIdle(): void {
    this.#phase = 'idle';
    if (this.queuedRecords === 0) this.#tellIdle();
  }

  #tellIdle(): void {
    const waiters = this.#idleWaiters;
    if (waiters.length === 0) return;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #isMemoryFull(): boolean {
    return this.#options.state.index.pinnedBytes > this.#options.limits.pinnedBytesMax;
  }

  #fail(cause: unknown): void {
    const error = new DroverError('unavailable', 'the disk failed a write', cause);
    this.stop(error);
    this.#options.onFailure(error);
  }

  /** Newest first, so that each record's object is back at the version before it. */
  #rejectAll(records: readonly Append[], error: DroverError): void {
    for (let i = records.length - 1; i >= 0; i -= 1) {
      const record = records[i]!;
      if (record.takesSpace) this.#options.budget.queuedBlocks -= record.dataBlocks;
      record.reject(error);
    }
  }
}

/** Records that build on the version of their object. */
function isObjectChange(record: Append): boolean {
  return record.entry !== undefined && record.type !== RecordType.relocate;
}
