/**
 * Bringing a replica that was away back into the in-sync set.
 *
 * Owns: the loop of one replica: wait until it is reachable, tell it the epoch, compare its
 * versions, copy what differs, let it join; and its progress. Does not own: the moves (replica
 * set), the copies (object copier), nor what is written meanwhile (writer).
 *
 * Why nothing is missed: from the start of the listing on, every write that the replica does not
 * get marks its object in `behind`. Once the listing is over, an object leaves `behind` only by a
 * copy under its gate, and writes of objects that are not in `behind` go to the replica too. So when
 * `behind` is empty the replica has everything that is applied, or its answer is waited for.
 */
import { compareVersions, VERSION_NONE, type Version } from '../engine/store-node.ts';
import { sleep } from '../runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Random } from '../runtime/random.ts';
import type { ByteRate } from './byte-rate.ts';
import type { DivergedObjects } from './diverged-objects.ts';
import {
  COPIES_AT_ONCE,
  DELTA_OBJECTS_MAX,
  RESYNC_BACKOFF_MAX_MS,
  RESYNC_BACKOFF_MIN_MS,
  UNREADABLE_RETRY_MS,
  WATCH_INTERVAL_MS,
} from './limits.ts';
import type { ObjectCopier } from './object-copier.ts';
import type { Replica } from './replica.ts';
import { walkAgainstTable } from './version-walk.ts';
import { objectKey, type VolumeContext } from './volume-context.ts';
import { withLimit } from './with-limit.ts';
import type { Writer } from './writer.ts';

export interface ResyncParts {
  readonly context: VolumeContext;
  readonly writer: Writer;
  readonly diverged: DivergedObjects;
  readonly copier: ObjectCopier;
  readonly rate: ByteRate;
  readonly random: Random;
  readonly answerLimitMs: number;
}

/** What a listing found, besides the objects that are behind. */
interface Listing {
  /** What the replica has of objects whose changes since then are known. */
  readonly deltaBases: Map<number, Version>;
  /** Objects with a write under way that can simply be sent to the replica too. */
  readonly adoptable: Map<number, Version>;
  /** Objects that the replica has newer than acknowledged: writes of this lease that failed. */
  readonly newer: Map<number, Version>;
}

/** Objects that were left out of a pass. */
interface Unreadable {
  count: number;
  /** Of one of them. */
  reason: string;
}

export class Resync {
  readonly #parts: ResyncParts;
  readonly #replica: Replica;
  #startedAtMs = 0;
  #startedAtBytes = 0;

  constructor(parts: ResyncParts, replica: Replica) {
    this.#parts = parts;
    this.#replica = replica;
  }

  /** Payload bytes a second of the resync under way; 0 if there is none. */
  get bytesPerSecond(): number {
    if (!this.#replica.is('copying')) return 0;
    const elapsedMs = this.#parts.context.clock.nowMs() - this.#startedAtMs;
    const bytes = this.#replica.resyncBytes - this.#startedAtBytes;
    return elapsedMs > 0 ? (bytes / elapsedMs) * 1000 : 0;
  }

  /** Runs until the lease is over. */
  async run(): Promise<void> {
    const { lease, set, clock } = this.#parts.context;
    while (lease.holds()) {
      const { state } = this.#replica;
      if (state !== 'out' && state !== 'leaving') {
        await set.changed();
      } else if (!this.#replica.link.isUp() || this.#backoffLeftMs() > 0) {
        await sleep(clock, WATCH_INTERVAL_MS);
      } else {
        await this.#attempt();
      }
    }
  }

  /** Grows with failures in a row; a replica that stays in sync for a while starts again. */
  #backoffLeftMs(): number {
    const { failedResyncs, stateSinceMs } = this.#replica;
    if (failedResyncs === 0) return 0;
    const backoffMs = Math.min(
      RESYNC_BACKOFF_MIN_MS * 2 ** (failedResyncs - 1),
      RESYNC_BACKOFF_MAX_MS,
    );
    const { context, random } = this.#parts;
    return stateSinceMs + backoffMs * (0.5 + random.fraction() / 2) - context.clock.nowMs();
  }

  async #attempt(): Promise<void> {
    const { set, lease, stats } = this.#parts.context;
    const replica = this.#replica;
    // Counted as failed from the start; the count is taken back when the replica has stayed.
    replica.failedResyncs += 1;
    try {
      const listing = await this.#list();
      if (!replica.is('listing')) return;
      set.startCopying(replica);
      this.#takeAsItIs(listing);
      await this.#copyAll(listing.deltaBases);
      if (!replica.is('copying')) return;
      replica.suspects.clear();
      replica.delta.clear();
      set.startJoining(replica);
    } catch (error) {
      if (!(error instanceof DroverError)) throw error;
      if (isDroverError(error, 'fenced') && lease.lost === undefined) {
        stats.refusedEpochs += 1;
        lease.lose(`node ${replica.nodeId} was told a higher epoch`);
      }
      set.drop(replica, describeError(error));
    }
  }

  async #list(): Promise<Listing> {
    const { context, writer, diverged, answerLimitMs } = this.#parts;
    const { set, lease, clock, volumeId, layerId, table, log, volumeName } = context;
    const replica = this.#replica;
    const { node } = replica.link;
    set.startListing(replica);
    for (const objectIndex of writer.objectsUnderWay()) replica.behind.add(objectIndex);
    for (const objectIndex of diverged.indexes()) replica.behind.add(objectIndex);
    for (const objectIndex of replica.suspects) replica.behind.add(objectIndex);
    await withLimit(
      clock,
      answerLimitMs,
      `telling node ${replica.nodeId} the epoch`,
      node.adoptEpoch(volumeId, lease.epoch),
    );
    this.#noteDirectory();
    const listing: Listing = { deltaBases: new Map(), adoptable: new Map(), newer: new Map() };
    await walkAgainstTable(node, layerId, table, { clock, answerLimitMs }, (index, version) =>
      this.#compare(listing, index, version),
    );
    log.info(
      { volume: volumeName, node: replica.nodeId, objectsBehind: replica.behind.count },
      'a replica is back and was compared',
    );
    return listing;
  }

  /** A node that comes with another data directory is new, whatever its name. */
  #noteDirectory(): void {
    const replica = this.#replica;
    const directoryId = replica.link.directoryId();
    if (replica.directoryId !== directoryId) replica.delta.clear();
    replica.directoryId = directoryId;
    replica.openId = replica.link.openId();
  }

  #compare(listing: Listing, objectIndex: number, version: Version): void {
    const { context, writer, diverged } = this.#parts;
    const replica = this.#replica;
    if (replica.suspects.has(objectIndex)) return;
    const known = context.table.get(objectIndex);
    const order = compareVersions(version, known);
    if (order < 0 && context.set.isInRecord(replica)) {
      // Nothing was acknowledged without it, so it had this once, and must not be relied on again.
      replica.isCopyBad = true;
      throw new DroverError('conflict', `it lost what it had of object ${objectIndex}`);
    }
    const write = writer.underWay(objectIndex);
    const divergence = diverged.get(objectIndex);
    if (write === undefined && divergence === undefined && order === 0) return;
    replica.behind.add(objectIndex);
    if (write !== undefined && divergence === undefined) {
      const { base, target } = write.request;
      const isAdoptable =
        compareVersions(version, base) === 0 || compareVersions(version, target) === 0;
      if (isAdoptable) listing.adoptable.set(objectIndex, target);
    }
    const isOurs = version.epoch === context.lease.epoch || divergence !== undefined;
    if (order >= 0 && isOurs && listing.newer.size < DELTA_OBJECTS_MAX) {
      listing.newer.set(objectIndex, version);
    }
    if (replica.delta.has(objectIndex)) listing.deltaBases.set(objectIndex, version);
  }

  /** Objects that need no copy; all of this in one turn with the start of copying. */
  #takeAsItIs(listing: Listing): void {
    const { context, writer, diverged } = this.#parts;
    const { set, clock } = context;
    const replica = this.#replica;
    this.#startedAtMs = clock.nowMs();
    this.#startedAtBytes = replica.resyncBytes;
    for (const [objectIndex, target] of listing.adoptable) {
      const write = writer.underWay(objectIndex);
      if (write === undefined || compareVersions(write.request.target, target) !== 0) continue;
      writer.sendAlso(write, replica);
      replica.behind.delete(objectIndex);
    }
    // With a live copy that one decides. Without one, this may be all there is, and what it has
    // beyond the acknowledged is what goes on.
    if (set.liveMask !== 0) return;
    for (const [objectIndex, version] of listing.newer) {
      if (!replica.behind.has(objectIndex)) continue;
      writer.giveUp(objectIndex);
      const versions = diverged.get(objectIndex)?.versions ?? set.replicas.map(() => undefined);
      versions[replica.index] = version;
      diverged.set(objectIndex, { versions, changedBlocks: undefined });
      replica.behind.delete(objectIndex);
    }
  }

  /** Over what is behind, and again over what could not be read, until nothing is left. */
  async #copyAll(deltaBases: ReadonlyMap<number, Version>): Promise<void> {
    const { clock } = this.#parts.context;
    const replica = this.#replica;
    while (replica.behind.count > 0 && replica.is('copying')) {
      const unreadable = await this.#copyReadable(deltaBases);
      if (!replica.is('copying')) return;
      this.#noteUnreadable(unreadable);
      const againMs = clock.nowMs() + UNREADABLE_RETRY_MS;
      while (unreadable.count > 0 && replica.is('copying') && clock.nowMs() < againMs) {
        await sleep(clock, WATCH_INTERVAL_MS);
      }
    }
  }

  /** One bad block must not keep all other objects from their second copy. */
  async #copyReadable(deltaBases: ReadonlyMap<number, Version>): Promise<Unreadable> {
    const replica = this.#replica;
    const unreadable: Unreadable = { count: 0, reason: '' };
    const objects = replica.behind[Symbol.iterator]();
    const workers = Array.from({ length: COPIES_AT_ONCE }, async () => {
      for (const objectIndex of objects) {
        await this.#parts.rate.take();
        if (!replica.is('copying')) return;
        try {
          await this.#copyOne(objectIndex, deltaBases.get(objectIndex));
        } catch (error) {
          if (!isDroverError(error, 'corrupt')) throw error;
          unreadable.count += 1;
          unreadable.reason = describeError(error);
        }
      }
    });
    await Promise.all(workers);
    return unreadable;
  }

  #noteUnreadable({ count, reason }: Unreadable): void {
    const { log, volumeName } = this.#parts.context;
    const replica = this.#replica;
    replica.objectsUnreadable = count;
    if (count === 0) return;
    replica.reason = `it lacks ${count} objects that no copy can be read of: ${reason}`;
    log.error(
      { volume: volumeName, node: replica.nodeId, objects: count, reason },
      'objects that cannot be read keep a replica from coming in sync',
    );
  }

  async #copyOne(objectIndex: number, has: Version | undefined): Promise<void> {
    const { context, writer, diverged, rate } = this.#parts;
    const { gates, table, stats, set } = context;
    const replica = this.#replica;
    const openGate = await gates.hold(objectIndex);
    try {
      if (!replica.is('copying')) return;
      await writer.quiet(objectIndex);
      if (set.liveMask === 0) throw new DroverError('unavailable', 'there is no copy to copy from');
      const unconfirmed = await diverged.equalize(objectIndex);
      if (!replica.is('copying') || !replica.behind.has(objectIndex)) return;
      const write = writer.underWay(objectIndex);
      const version = write?.request.target ?? unconfirmed ?? table.get(objectIndex);
      const bytes = await this.#bringUp(objectIndex, version, has);
      rate.book(bytes);
      if (!replica.is('copying')) return;
      stats.resyncBytes += bytes;
      stats.resyncedObjects += 1;
      replica.resyncBytes += bytes;
      replica.resyncObjects += 1;
      replica.behind.delete(objectIndex);
      replica.suspects.delete(objectIndex);
      replica.delta.delete(objectIndex);
      if (write !== undefined && writer.underWay(objectIndex) === write) {
        writer.noteCopied(write, replica);
      }
      const divergence = diverged.get(objectIndex);
      if (divergence !== undefined) divergence.versions[replica.index] = version;
    } finally {
      openGate();
    }
  }

  async #bringUp(objectIndex: number, version: Version, has?: Version): Promise<number> {
    const { context, copier, answerLimitMs } = this.#parts;
    const { set, lease, clock, volumeId } = context;
    const replica = this.#replica;
    if (compareVersions(version, VERSION_NONE) === 0) {
      const key = objectKey(context, objectIndex);
      const removed = replica.link.node.removeObject({ ...key, volumeId, epoch: lease.epoch });
      await withLimit(clock, answerLimitMs, `removing object ${objectIndex}`, removed);
      return 0;
    }
    const isSuspect = replica.suspects.has(objectIndex);
    const changedBlocks =
      has === undefined || isSuspect ? undefined : replica.delta.changedSince(objectIndex, has);
    return copier.copy({
      objectIndex,
      version,
      sources: set.replicas.filter((source) => source.isLive),
      target: replica,
      delta:
        has === undefined || changedBlocks === undefined ? undefined : { base: has, changedBlocks },
    });
  }
}
