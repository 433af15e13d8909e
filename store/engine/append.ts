/**
 * One record on its way to the log, and who waits for it.
 *
 * Owns: the record, its payload, its place in the chain of changes of its object, and settling.
 * A record settles once: resolved when its batch is durable and applied, rejected otherwise.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import { CRC_BYTES, EXTENT_BYTES, RECORD_BYTES, SOURCE_BYTES } from './layouts.ts';
import {
  type BlockSource,
  type LogRecord,
  NO_CRCS,
  NO_EXTENTS,
  NO_SOURCES,
  RecordType,
} from './log-record.ts';
import type { ObjectEntry, PendingChange } from './object-entry.ts';
import type { Extent } from './store-node.ts';

const NO_PAYLOAD: readonly Buffer[] = [];

export class Append implements LogRecord, PendingChange {
  /**
   * Never queued. V8 fixes the size of a class's instances when seven were made, and remembers the
   * fields only of those that live: without one that stays, the few records of an opening are gone
   * by then, and every later one is a hash table, ten times as slow to make and to read.
   */
  static readonly kept = new Append(RecordType.write, undefined);
  readonly type: RecordType;
  readonly entry: ObjectEntry | undefined;
  volumeId = 0;
  epoch = 0;
  layerId = 0;
  objectIndex = 0;
  baseEpoch = 0;
  baseSeq = 0;
  targetEpoch = 0;
  targetSeq = 0;
  extents: readonly Extent[] = NO_EXTENTS;
  sources: readonly BlockSource[] = NO_SOURCES;
  blockCrcs: Uint32Array = NO_CRCS;
  payload: readonly Buffer[] = NO_PAYLOAD;
  /** Waits in the queue of records that take space; so do later ones of the same object. */
  takesSpace = false;
  isSettled = false;
  /** The change before it on the same object; holds on to those only that are on their way. */
  previousPending: Append | undefined;
  /** Of all who wait for it. */
  #answer: PromiseWithResolvers<void> | undefined = undefined;

  constructor(type: RecordType, entry: ObjectEntry | undefined) {
    this.type = type;
    this.entry = entry;
    if (entry !== undefined) {
      this.layerId = entry.layerId;
      this.objectIndex = entry.objectIndex;
    }
  }

  get dataBlocks(): number {
    return this.blockCrcs.length;
  }

  get payloadBytes(): number {
    return this.blockCrcs.length * BLOCK_BYTES;
  }

  get headerBytes(): number {
    return (
      RECORD_BYTES +
      this.extents.length * EXTENT_BYTES +
      this.sources.length * SOURCE_BYTES +
      this.blockCrcs.length * CRC_BYTES
    );
  }

  settled(): Promise<void> {
    this.#answer ??= Promise.withResolvers<void>();
    return this.#answer.promise;
  }

  /** The record is on its way: its entry stays in memory until it settles. */
  enterQueue(): void {
    if (this.entry !== undefined) this.entry.queuedRecords += 1;
  }

  /** Makes this the newest change of its object. */
  joinChain(): void {
    const { entry } = this;
    if (entry === undefined) return;
    this.previousPending = entry.lastPending as Append | undefined;
    entry.lastPending = this;
  }

  /** Hot path. Records of an object are resolved in the order of their chain. */
  resolve(): void {
    this.#leave();
    this.previousPending = undefined;
    this.#answer?.resolve();
  }

  reject(error: unknown): void {
    this.#leave();
    this.#answer?.reject(error);
  }

  #leave(): void {
    this.isSettled = true;
    const { entry } = this;
    if (entry === undefined) return;
    entry.queuedRecords -= 1;
    if (entry.lastPending !== this) return;
    let newest = this.previousPending;
    while (newest?.isSettled === true) newest = newest.previousPending;
    entry.lastPending = newest;
  }
}
