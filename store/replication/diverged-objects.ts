/**
 * Objects whose live copies may have different versions, and making them equal again.
 *
 * There are two ways to get here. At attach, a write was in flight when the last writer died: some
 * copies have it. Or a write was refused by some copies and not by others, and the client was told
 * that it failed. Both are the same thing: the highest version is the one that goes on, as after a
 * crash with that write in flight, for nobody was told that it is or is not there. What must never
 * happen is that a value is read and the older one is read after it. So:
 * - Blocks that the versions differ in are read only after every copy in the record has the highest
 *   version, be it that the last one without it was taken out of the record.
 * - A write that covers all those blocks may go to each copy over its own version, with one new
 *   target above all of them, and makes the copies equal; any other write waits until they are.
 * - A highest version that cannot be read, and that only some have, is given up with the copies
 *   that have it, as if they had not been reached; blocks of two versions are never mixed.
 *
 * The table holds the lowest version that any of this may have been acknowledged with.
 *
 * Owns: the per-copy versions of such objects. An object that is not here has the version of the
 * table on every live copy (or is being written).
 * Bounded by the writes in flight of the last writer, and by the objects that the cache keeps dirty.
 */
import { compareVersions, VERSION_NONE, type Version } from '../engine/store-node.ts';
import { DroverError, isDroverError } from '../runtime/drover-error.ts';
import type { BlockSet } from './block-set.ts';
import { COPY_LIMIT_MS } from './limits.ts';
import type { ObjectCopier } from './object-copier.ts';
import type { Replica } from './replica.ts';
import type { VolumeContext } from './volume-context.ts';
import { withLimit } from './with-limit.ts';

export interface Divergence {
  /** By replica index; `undefined` where it is not known. */
  readonly versions: (Version | undefined)[];
  /** The blocks that the versions differ in; `undefined`: any. */
  readonly changedBlocks: BlockSet | undefined;
}

export class DivergedObjects {
  readonly #context: VolumeContext;
  readonly #copier: ObjectCopier;
  readonly #objects = new Map<number, Divergence>();

  readonly #quiet: (objectIndex: number) => Promise<void>;

  /** `quiet` resolves when no write of the object is on its way to a live copy. */
  constructor(
    context: VolumeContext,
    copier: ObjectCopier,
    quiet: (objectIndex: number) => Promise<void>,
  ) {
    this.#context = context;
    this.#copier = copier;
    this.#quiet = quiet;
  }

  get count(): number {
    return this.#objects.size;
  }

  get(objectIndex: number): Divergence | undefined {
    return this.#objects.size === 0 ? undefined : this.#objects.get(objectIndex);
  }

  indexes(): number[] {
    return [...this.#objects.keys()];
  }

  set(objectIndex: number, divergence: Divergence): void {
    this.#objects.set(objectIndex, divergence);
  }

  delete(objectIndex: number): void {
    this.#objects.delete(objectIndex);
  }

  /** What a replica has that was dropped is learnt again if it returns. */
  forget(replica: Replica): void {
    for (const { versions } of this.#objects.values()) versions[replica.index] = undefined;
  }

  /** A write over all live copies was applied; it is not acknowledged yet. */
  noteApplied(objectIndex: number, version: Version): void {
    const versions = this.#objects.get(objectIndex)?.versions;
    if (versions === undefined) return;
    for (const replica of this.#context.set.replicas) {
      if (replica.isLive) versions[replica.index] = version;
    }
  }

  /** The version that all live copies have, if they have the same one and it is known. */
  commonVersion(objectIndex: number): Version | undefined {
    const versions = this.#objects.get(objectIndex)?.versions;
    if (versions === undefined) return undefined;
    const live = this.#context.set.replicas.filter((replica) => replica.isLive);
    const first = live[0] === undefined ? undefined : versions[live[0].index];
    if (first === undefined) return undefined;
    const isCommon = live.every(({ index }) => {
      const version = versions[index];
      return version !== undefined && compareVersions(version, first) === 0;
    });
    return isCommon ? first : undefined;
  }

  /**
   * Whether every live copy has a version that it may be written over: known, and not below what
   * was acknowledged.
   */
  areVersionsKnown(objectIndex: number): boolean {
    const versions = this.#objects.get(objectIndex)?.versions;
    if (versions === undefined) return true;
    const acknowledged = this.#context.table.get(objectIndex);
    return this.#context.set.replicas.every((replica) => {
      const version = versions[replica.index];
      if (!replica.isLive) return true;
      return version !== undefined && compareVersions(version, acknowledged) >= 0;
    });
  }

  /**
   * Makes the live copies of an object equal and waits until no other copy can show up with
   * another version; nothing to do if that is so. Errors: `outOfSpace`, `unavailable`, `corrupt`,
   * `fenced`.
   */
  async settle(objectIndex: number): Promise<void> {
    const { lease, set, table, gates, stats } = this.#context;
    while (this.#objects.has(objectIndex)) {
      if (!lease.holds()) throw lease.lost!;
      if (set.liveMask === 0) {
        await set.changed();
        continue;
      }
      const openGate = await gates.hold(objectIndex);
      try {
        await this.#quiet(objectIndex);
        const version = await this.equalize(objectIndex);
        if (version === undefined) return;
        if (set.isRecordCovered) {
          table.set(objectIndex, version);
          this.#objects.delete(objectIndex);
          stats.reconciledObjects += 1;
          return;
        }
      } finally {
        // Not held while waiting: the copy that is waited for may need it to come back.
        openGate();
      }
      await set.changed();
    }
  }

  /**
   * Gives every live copy the highest version that one has, while the caller holds the object's
   * gate and no write of it is on its way; resolves to that version, or `undefined` if the object is not diverged. Errors: as
   * `settle`; `unavailable` if there is no live copy.
   */
  async equalize(objectIndex: number): Promise<Version | undefined> {
    const { lease, set } = this.#context;
    for (;;) {
      const divergence = this.#objects.get(objectIndex);
      if (divergence === undefined) return undefined;
      if (!lease.holds()) throw lease.lost!;
      await this.#learn(objectIndex, divergence);
      const versionOf = (replica: Replica) => divergence.versions[replica.index] ?? VERSION_NONE;
      const live = set.replicas.filter((replica) => replica.isLive);
      const highest = live.map(versionOf).reduce(higherVersion, VERSION_NONE);
      if (live.length === 0) throw new DroverError('unavailable', 'there is no copy in sync');
      this.#assertNothingLost(objectIndex, highest);
      const hasHighest = (replica: Replica) => compareVersions(versionOf(replica), highest) === 0;
      const lower = live.filter((replica) => !hasHighest(replica));
      if (lower.length === 0) return highest;
      await this.#copyTo(lower, live.filter(hasHighest), objectIndex, highest, divergence);
    }
  }

  #assertNothingLost(objectIndex: number, highest: Version): void {
    const { table, volumeName } = this.#context;
    if (compareVersions(highest, table.get(objectIndex)) >= 0) return;
    throw new DroverError(
      'corrupt',
      `volume ${volumeName}: no copy has what was acknowledged of object ${objectIndex}`,
    );
  }

  async #copyTo(
    targets: readonly Replica[],
    sources: readonly Replica[],
    objectIndex: number,
    version: Version,
    divergence: Divergence,
  ): Promise<void> {
    const base = this.#context.table.get(objectIndex);
    const hasAcknowledged = targets.every(
      (target) => compareVersions(divergence.versions[target.index]!, base) >= 0,
    );
    await Promise.all(
      targets.map(async (target) => {
        const has = divergence.versions[target.index]!;
        const { changedBlocks } = divergence;
        const delta =
          changedBlocks !== undefined && compareVersions(has, base) === 0
            ? { base, changedBlocks }
            : undefined;
        try {
          await this.#copier.copy({ objectIndex, version, sources, target, delta });
          divergence.versions[target.index] = version;
        } catch (error) {
          // What the target has is uncertain now, and a conflict says that the sources' are not as known.
          divergence.versions.fill(undefined);
          const isUnreadable = isDroverError(error, 'corrupt') && hasAcknowledged;
          if (isUnreadable && this.#dropUnreadable(sources, objectIndex)) return;
          this.#noteFailure(error, target, objectIndex);
        }
      }),
    );
  }

  /**
   * Nobody was told that the version is there which only these have and none can give: without them
   * the one below goes on. False if too few copies would remain.
   */
  #dropUnreadable(sources: readonly Replica[], objectIndex: number): boolean {
    const { set } = this.#context;
    const live = sources.filter((source) => source.isLive);
    if (set.liveCount - live.length < set.minInSync) return false;
    const reason = `it alone has the newest version of object ${objectIndex}, which cannot be read`;
    for (const source of live) set.drop(source, reason, true);
    return true;
  }

  #noteFailure(error: unknown, target: Replica, objectIndex: number): void {
    const { set, log, volumeName } = this.#context;
    if (isDroverError(error, 'conflict') || !target.isLive) return;
    const reason = error instanceof DroverError ? error.kind : 'error';
    log.warn(
      { volume: volumeName, node: target.nodeId, object: objectIndex, reason },
      'an object whose copies differ could not be copied',
    );
    const isTargetsFault = reason === 'outOfSpace' || reason === 'unavailable';
    if (isTargetsFault && set.liveCount > set.minInSync) {
      set.drop(target, `cannot take object ${objectIndex}: ${reason}`);
      return;
    }
    throw error;
  }

  /** Asks live replicas whose version of the object is not known. */
  async #learn(objectIndex: number, divergence: Divergence): Promise<void> {
    const { layerId, clock } = this.#context;
    const unknown = this.#context.set.replicas.filter(
      (replica) => replica.isLive && divergence.versions[replica.index] === undefined,
    );
    await Promise.all(
      unknown.map(async (replica) => {
        try {
          const asked = versionOn(replica, layerId, objectIndex);
          const what = `asking node ${replica.nodeId} for a version`;
          const answer = await withLimit(clock, COPY_LIMIT_MS, what, asked);
          divergence.versions[replica.index] = answer;
        } catch (error) {
          // One that was dropped meanwhile is not asked any more.
          if (replica.isLive) throw error;
        }
      }),
    );
  }
}

function higherVersion(a: Version, b: Version): Version {
  return compareVersions(a, b) >= 0 ? a : b;
}

/** The version that a replica has of one object now. Error: `unavailable`. */
export async function versionOn(
  replica: Replica,
  layerId: number,
  objectIndex: number,
): Promise<Version> {
  const page = await replica.link.node.listVersions(layerId, objectIndex, 1);
  return page.count > 0 && page.objectIndexes[0] === objectIndex
    ? { epoch: page.epochs[0]!, seq: page.seqs[0]! }
    : VERSION_NONE;
}
