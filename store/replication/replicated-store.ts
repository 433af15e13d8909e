/**
 * The objects of one attached volume, in as many copies as it has: the `ObjectStore` of the cache.
 *
 * Owns: putting the parts together, their start and end, and the view from outside. The parts:
 * `writer` (every write to every live replica), `reader` (any copy, checked), `replica-set` (who is
 * live, and the record), `diverged-objects` (copies that differ), `resync` (replicas that were
 * away), `failure-watch` (who has failed), `volume-lease` (the right to do all this).
 * Invariant: once the lease is over, nothing is read or acknowledged any more.
 */
import type { Extent } from '../engine/store-node.ts';
import { sleep } from '../runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Random } from '../runtime/random.ts';
import { ByteRate } from './byte-rate.ts';
import { DivergedObjects, type Divergence } from './diverged-objects.ts';
import { FailureWatch } from './failure-watch.ts';
import { COPIES_AT_ONCE, RESYNC_BACKOFF_MAX_MS, type ReplicationTimes } from './limits.ts';
import { ObjectCopier } from './object-copier.ts';
import type { ObjectStore } from './object-store.ts';
import { Reader } from './reader.ts';
import { type ReplicationStatus, statusOf } from './replication-status.ts';
import { RestartCheck } from './restart-check.ts';
import { Resync } from './resync.ts';
import { type VerifyOptions, type VerifyReport, verifyCopies } from './verify.ts';
import type { VolumeContext } from './volume-context.ts';
import { Writer } from './writer.ts';

export interface ReplicatedStoreOptions {
  readonly context: VolumeContext;
  readonly objectBytes: number;
  readonly times: ReplicationTimes;
  readonly resyncBytesPerSecond: number;
  readonly random: Random;
  /** Objects whose copies were found to differ at attach. */
  readonly differing: ReadonlyMap<number, Divergence>;
  readonly onLost?: ((error: DroverError) => void) | undefined;
}

export class ReplicatedStore implements ObjectStore {
  readonly objectBytes: number;
  readonly #context: VolumeContext;
  readonly #writer: Writer;
  readonly #reader: Reader;
  readonly #diverged: DivergedObjects;
  readonly #watch: FailureWatch;
  readonly #resyncs: readonly Resync[];

  constructor(options: ReplicatedStoreOptions) {
    const { context, times, random } = options;
    const { set, clock, lease } = context;
    this.objectBytes = options.objectBytes;
    this.#context = context;
    const copier = new ObjectCopier(context, (objectIndex) => this.#reader.heal(objectIndex));
    const diverged = new DivergedObjects(context, copier, (objectIndex) =>
      this.#writer.quiet(objectIndex),
    );
    for (const [objectIndex, divergence] of options.differing) {
      diverged.set(objectIndex, divergence);
    }
    const writer = new Writer(context, diverged);
    const reader = new Reader(context, diverged, writer);
    this.#diverged = diverged;
    this.#writer = writer;
    this.#reader = reader;
    set.listen(writer);
    set.listen(reader);
    lease.onLost((error) => {
      context.stats.leaseLosses += 1;
      this.#end(error);
      options.onLost?.(error);
    });
    const answerLimitMs = times.silentLimitMs;
    const restartCheck = new RestartCheck(context, writer, diverged, answerLimitMs);
    this.#watch = new FailureWatch({ context, writer, reader, restartCheck, times });
    const rate = new ByteRate(clock, options.resyncBytesPerSecond);
    const parts = { context, writer, diverged, copier, rate, random, answerLimitMs };
    this.#resyncs = set.replicas.map((replica) => new Resync(parts, replica));
  }

  /** Starts looking after the copies. */
  start(): void {
    this.#watch.start();
    for (const resync of this.#resyncs) resync.run().catch(this.#crash);
    const differing = this.#diverged.indexes();
    const workers = Array.from({ length: COPIES_AT_ONCE }, () => this.#settleAll(differing));
    Promise.all(workers).catch(this.#crash);
  }

  exists(objectIndex: number): boolean {
    return (
      this.#context.table.epochOf(objectIndex) !== 0 ||
      this.#writer.underWay(objectIndex) !== undefined ||
      this.#diverged.get(objectIndex) !== undefined
    );
  }

  read(objectIndex: number, startBlock: number, into: readonly Buffer[]): Promise<Uint8Array> {
    return this.#reader.read(objectIndex, startBlock, into);
  }

  map(objectIndex: number): Promise<Uint8Array> {
    return this.#reader.map(objectIndex);
  }

  write(
    objectIndex: number,
    extents: readonly Extent[],
    payload: readonly Buffer[],
  ): Promise<void> {
    return this.#writer.write(objectIndex, extents, payload);
  }

  /** Hot path. False once the lease is over: then nothing may be answered from a cache either. */
  leaseHolds(): boolean {
    return this.#context.lease.holds();
  }

  get stats() {
    return this.#context.stats;
  }

  status(): ReplicationStatus {
    return statusOf(this.#context, this.#resyncs, this.#diverged.count, this.objectBytes);
  }

  /** Compares the copies; see `verify.ts`. */
  verify(options: VerifyOptions): Promise<VerifyReport> {
    const parts = {
      context: this.#context,
      writer: this.#writer,
      diverged: this.#diverged,
      heal: (objectIndex: number) => this.#reader.heal(objectIndex),
    };
    return verifyCopies(parts, options);
  }

  /** Detaches: gives the lease back. What is under way fails. */
  async close(): Promise<void> {
    const { lease, volumeName } = this.#context;
    const released = lease.release();
    this.#end(new DroverError('unavailable', `volume ${volumeName} is detached`));
    await released;
  }

  #end(error: DroverError): void {
    this.#watch.stop();
    this.#writer.onLost(error);
    this.#reader.onLost(error);
    this.#context.set.end();
  }

  /** Makes the copies of the objects in the list equal, one after another, until it is done. */
  async #settleAll(differing: number[]): Promise<void> {
    const { lease, clock, log, volumeName } = this.#context;
    for (;;) {
      const objectIndex = differing.shift();
      if (objectIndex === undefined || !lease.holds()) return;
      try {
        await this.#diverged.settle(objectIndex);
      } catch (error) {
        if (!isDroverError(error)) throw error;
        if (!lease.holds()) return;
        differing.push(objectIndex);
        const where = { volume: volumeName, object: objectIndex, reason: describeError(error) };
        log.warn(where, 'copies that differ cannot be made equal yet');
        await sleep(clock, RESYNC_BACKOFF_MAX_MS);
      }
    }
  }

  /** A bug in work that nobody waits for must not stay silent: without the lease nothing goes on. */
  readonly #crash = (error: unknown): void => {
    this.#context.lease.lose(`replication failed: ${describeError(error)}`);
    throw error;
  };
}
