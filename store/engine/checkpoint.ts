/**
 * Brings the index on disk up to the log, so that replay starts later and memory is given back.
 *
 * Owns: everything that writes the index on disk; one checkpoint at a time. Does not own: when.
 *
 * A checkpoint is fuzzy. The place of the log is noted first; then the objects that were changed
 * are stored as they are when their turn comes, in several transactions that each take a few
 * milliseconds; the last one moves the place. Why a crash at any moment is harmless:
 * - What is stored of an object is a state after some durable record, with that record's lsn.
 *   Replay starts at the old or new place, which is not after it, skips the records up to the lsn
 *   and applies the others.
 * - An object changed before the noted place is among those stored: it was dirty then.
 * - Live counts and counts of objects on disk are changed in the same transaction as the objects,
 *   by the difference to what was stored before, so they are always those of the stored objects.
 * - A segment may be freed while the index on disk still points to it: the record that moved or
 *   replaced its last block is durable, and is behind the place from which replay starts.
 */
import type { Clock } from '../runtime/clock.ts';
import type { EngineState } from './apply-record.ts';
import type { EngineStats } from './engine-stats.ts';
import { IndexArena } from './index-arena.ts';
import { encodeCheckpoint, encodeCount } from './index-codec.ts';
import { type IndexChange, type IndexStore, indexKey, indexRange } from './index-store.ts';
import { IndexTransaction } from './index-transaction.ts';
import type { EngineLimits } from './limits.ts';
import type { LiveCounts } from './live-counts.ts';
import type { LogPosition } from './log-position.ts';
import type { ObjectEntry } from './object-entry.ts';

export interface CheckpointOptions {
  readonly state: EngineState;
  readonly store: IndexStore;
  readonly limits: EngineLimits;
  readonly clock: Clock;
  readonly stats: EngineStats;
  /** Counts of what the index on disk holds. */
  readonly storedLive: LiveCounts;
  readonly storedObjects: Map<number, number>;
  /** Removed layers with objects on disk. */
  readonly unreapedLayers: Set<number>;
  /** Removed layers that the index on disk knows of. */
  readonly storedRemovedLayers: Set<number>;
  readonly place: () => LogPosition;
  readonly nextSegmentId: () => number;
}

const REMOVED_UNREAPED = 0;
const REMOVED_REAPED = 1;

export function isReaped(value: Buffer): boolean {
  return value[0] === REMOVED_REAPED;
}

export class Checkpointer {
  readonly #options: CheckpointOptions;
  readonly #arena: IndexArena;
  #running: Promise<void> | undefined;
  #start: LogPosition;
  #endMs: number;

  constructor(options: CheckpointOptions, start: LogPosition) {
    this.#options = options;
    this.#arena = new IndexArena(options.limits.checkpointCommitBytes);
    this.#start = start;
    this.#endMs = options.clock.nowMs();
  }

  /** Replay would start here: older segments are not needed by it. */
  get start(): LogPosition {
    return this.#start;
  }

  get ageMs(): number {
    return this.#options.clock.nowMs() - this.#endMs;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Makes a checkpoint; one that is running already does not count, it began before. */
  async run(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => {});
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(): Promise<void> {
    const { state, clock, stats } = this.#options;
    const startMs = clock.nowMs();
    const place = this.#options.place();
    const removed = [...state.index.removedLayers].filter(
      (layerId) => !this.#options.storedRemovedLayers.has(layerId),
    );
    const epochs = state.epochs.takeChanged();
    const entries = state.index.beginStoring();
    let isStored = false;
    try {
      await this.#storeObjects(entries);
      await this.#storePlace(place, removed, epochs);
      isStored = true;
    } finally {
      state.index.endStoring(isStored);
      if (!isStored) {
        state.epochs.putBackChanged(epochs);
        stats.checkpointFailures += 1;
      }
    }
    this.#start = place;
    for (const layerId of [...this.#options.unreapedLayers]) await this.#reap(layerId);
    this.#endMs = clock.nowMs();
    stats.checkpoints += 1;
    stats.checkpointSeconds.observe((this.#endMs - startMs) / 1000);
  }

  async #storeObjects(entries: readonly ObjectEntry[]): Promise<void> {
    const { limits, clock } = this.#options;
    let transaction = this.#begin();
    let sliceStartMs = clock.nowMs();
    for (const entry of entries) {
      transaction.storeObject(entry);
      if (
        transaction.bytes >= limits.checkpointCommitBytes ||
        transaction.objects >= limits.checkpointCommitObjects
      ) {
        await this.#commit(transaction);
        transaction = this.#begin();
        sliceStartMs = clock.nowMs();
      } else if (clock.nowMs() - sliceStartMs > limits.checkpointSliceMs) {
        await new Promise<void>((resolve) => clock.endOfTurn(resolve));
        sliceStartMs = clock.nowMs();
      }
    }
    if (transaction.objects > 0) await this.#commit(transaction);
  }

  async #storePlace(
    place: LogPosition,
    removed: readonly number[],
    epochs: ReadonlySet<number>,
  ): Promise<void> {
    const { store, state, storedRemovedLayers, unreapedLayers, nextSegmentId } = this.#options;
    const checkpoint = { ...place, nextSegmentId: nextSegmentId() };
    const changes: IndexChange[] = [
      { key: indexKey.checkpoint(), value: encodeCheckpoint(checkpoint) },
    ];
    for (const layerId of removed) {
      changes.push({
        key: indexKey.removedLayer(layerId),
        value: Buffer.of(REMOVED_UNREAPED),
      });
    }
    for (const volumeId of epochs) {
      changes.push({
        key: indexKey.epoch(volumeId),
        value: encodeCount(state.epochs.durable(volumeId)),
      });
    }
    await store.write(changes);
    for (const layerId of removed) {
      storedRemovedLayers.add(layerId);
      unreapedLayers.add(layerId);
    }
  }

  /**
   * Takes the objects of a removed layer out of the disk. They were not changed since they were
   * stored (what was dirty when the layer was removed is gone by now), so memory counts them too.
   */
  async #reap(layerId: number): Promise<void> {
    const { store, state, limits, unreapedLayers } = this.#options;
    for (;;) {
      const [start, end] = indexRange.objectsOf(layerId);
      const page = store.range(start, end, limits.checkpointCommitObjects);
      if (page.length === 0) break;
      const transaction = this.#begin();
      for (const { key, value } of page) transaction.reapObject(layerId, key, value);
      await this.#commit(transaction);
      state.index.live.addAll(transaction.liveChanges);
    }
    for (;;) {
      const [start, end] = indexRange.versionsOf(layerId);
      const page = store.range(start, end, limits.checkpointCommitObjects);
      if (page.length === 0) break;
      await store.write(page.map(({ key }) => ({ key, value: undefined })));
    }
    await store.write([{ key: indexKey.removedLayer(layerId), value: Buffer.of(REMOVED_REAPED) }]);
    unreapedLayers.delete(layerId);
  }

  #begin(): IndexTransaction {
    const { store, storedLive, storedObjects } = this.#options;
    return new IndexTransaction(store, storedLive, storedObjects, this.#arena);
  }

  #commit(transaction: IndexTransaction): Promise<void> {
    return transaction.commit(this.#options.place().batchSeq);
  }
}
