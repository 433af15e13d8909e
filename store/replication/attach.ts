/**
 * Attaching a volume: from its record to an object store that can be read and written.
 *
 * The order is what makes it safe:
 * 1. take the lease; from now on the record is ours to change
 * 2. tell the new epoch to the in-sync nodes; one that has answered takes nothing from an older
 *    writer any more, so what is listed after that is final
 * 3. list their versions; where they differ the highest goes on (`diverged-objects.ts`)
 * 4. take those that did not answer out of the record: they may hold a write that nobody else saw,
 *    and must not show it later
 * 5. serve
 *
 * Owns: these steps, and giving the lease back when one fails. Does not own what happens after.
 */
import { compareVersions, type Version } from '../engine/store-node.ts';
import { blocksOf } from '../geometry.ts';
import { type Clock, sleep } from '../runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Random } from '../runtime/random.ts';
import type { Divergence } from './diverged-objects.ts';
import {
  REPLICATION_TIMES,
  RESYNC_BYTES_PER_SECOND,
  type ReplicationTimes,
  WATCH_INTERVAL_MS,
} from './limits.ts';
import { ObjectGates } from './object-gates.ts';
import { Replica } from './replica.ts';
import type { ReplicaLink } from './replica-link.ts';
import { ReplicaSet } from './replica-set.ts';
import { ReplicatedStore } from './replicated-store.ts';
import { ReplicationStats } from './replication-stats.ts';
import { VersionTable } from './version-table.ts';
import { ListingFailed, walkVersions } from './version-walk.ts';
import { type LeaseOptions, VolumeLease } from './volume-lease.ts';
import { withLimit } from './with-limit.ts';

export interface AttachOptions extends Omit<LeaseOptions, 'leaseMarginMs'> {
  readonly random: Random;
  /** The link to a node of the volume; there is always one, also to a node that is not up. */
  readonly links: (nodeId: string) => ReplicaLink;
  readonly times?: Partial<ReplicationTimes> | undefined;
  readonly resyncBytesPerSecond?: number | undefined;
  /** Called once when the lease is lost; the store fails everything from then on. */
  readonly onLost?: ((error: DroverError) => void) | undefined;
}

/**
 * Attaches a volume. Errors: those of `VolumeLease.take`; `fenced` when somebody else took it
 * meanwhile, `unavailable` without a reachable in-sync copy.
 */
export async function attachVolume(options: AttachOptions): Promise<ReplicatedStore> {
  const times = { ...REPLICATION_TIMES, ...options.times };
  const lease = await VolumeLease.take({ ...options, leaseMarginMs: times.leaseMarginMs });
  try {
    return await attachWithLease(options, times, lease);
  } catch (error) {
    await lease.release();
    throw error;
  }
}

async function attachWithLease(
  options: AttachOptions,
  times: ReplicationTimes,
  lease: VolumeLease,
): Promise<ReplicatedStore> {
  const { clock, log, random, volumeName } = options;
  const { record, epoch } = lease;
  const blocksPerObject = blocksOf(record.objectBytes);
  const replicas = record.replicas.nodes.map(
    (nodeId, index) =>
      new Replica(
        index,
        options.links(nodeId),
        record.replicas.inSync.includes(nodeId) ? 'inSync' : 'out',
        blocksPerObject,
        clock,
      ),
  );
  await contactInSync(options, times, lease, replicas);
  const { table, differing } = await listInSync(times, lease, replicas, clock);
  const set = new ReplicaSet({
    replicas,
    lease,
    minInSync: record.replicas.minInSync,
    clock,
    log,
  });
  set.start();
  while (!set.isRecordCovered) {
    await set.changed();
    if (!lease.holds()) throw lease.lost!;
  }
  const store = new ReplicatedStore({
    context: {
      volumeName,
      volumeId: record.id,
      layerId: record.layerId,
      blocksPerObject,
      lease,
      set,
      table,
      gates: new ObjectGates(),
      clock,
      log,
      stats: new ReplicationStats(),
    },
    objectBytes: record.objectBytes,
    times,
    resyncBytesPerSecond: options.resyncBytesPerSecond ?? RESYNC_BYTES_PER_SECOND,
    random,
    differing,
    onLost: options.onLost,
  });
  store.start();
  log.info(
    { volume: volumeName, epoch, inSync: set.liveCount, differing: differing.size },
    'a volume is attached',
  );
  return store;
}

/** Tells the epoch to the in-sync nodes; those that do not answer are in sync no more. */
async function contactInSync(
  options: AttachOptions,
  times: ReplicationTimes,
  lease: VolumeLease,
  replicas: readonly Replica[],
): Promise<void> {
  await Promise.all(
    replicas.map(async (replica) => {
      if (!replica.is('inSync')) return;
      try {
        await contact(options.clock, times, lease, replica);
      } catch (error) {
        if (isDroverError(error, 'fenced')) {
          lease.lose(`node ${replica.nodeId} was told a higher epoch`);
        }
        setAside(replica, describeError(error), options.clock);
      }
    }),
  );
  if (!lease.holds()) throw lease.lost!;
  assertAnyInSync(lease, replicas);
}

async function contact(
  clock: Clock,
  times: ReplicationTimes,
  lease: VolumeLease,
  replica: Replica,
): Promise<void> {
  const { link, nodeId } = replica;
  const startedMs = clock.nowMs();
  while (!link.isUp()) {
    const nowMs = clock.nowMs();
    const refusedSinceMs = link.refusedSinceMs();
    const isRefused =
      refusedSinceMs !== undefined &&
      nowMs - Math.max(refusedSinceMs, startedMs) > times.refusedLimitMs;
    if (isRefused || nowMs - startedMs > times.silentLimitMs) {
      throw new DroverError('unavailable', `node ${nodeId} cannot be reached`);
    }
    await sleep(clock, WATCH_INTERVAL_MS);
  }
  const openId = link.openId();
  await withLimit(
    clock,
    times.silentLimitMs,
    `telling node ${nodeId} the epoch`,
    link.node.adoptEpoch(lease.volumeId, lease.epoch),
  );
  const known = lease.record.replicas.directories[nodeId];
  const found = link.directoryId();
  if (known !== undefined && known !== found) {
    throw new DroverError('notFound', `node ${nodeId} has another data directory than it had`);
  }
  replica.directoryId = found;
  replica.openId = openId;
}

function setAside(replica: Replica, reason: string, clock: Clock): void {
  replica.reason = reason;
  replica.isCopyBad = true;
  replica.move('leaving', clock.nowMs());
}

function assertAnyInSync(lease: VolumeLease, replicas: readonly Replica[]): void {
  if (replicas.some((replica) => replica.is('inSync'))) return;
  const reasons = replicas
    .filter((replica) => replica.is('leaving'))
    .map((replica) => `${replica.nodeId}: ${replica.reason}`);
  throw new DroverError(
    'unavailable',
    `volume ${lease.record.name} has no copy that can be relied on (${reasons.join('; ')})`,
  );
}

interface Listed {
  readonly table: VersionTable;
  /** The objects that the in-sync nodes have in different versions. */
  readonly differing: Map<number, Divergence>;
}

/**
 * What the in-sync nodes have; the table gets the lowest version of each object. A node that fails
 * meanwhile is set aside, and everything is listed again; so is one that was opened anew since it
 * was told the epoch, for what it listed may be of another directory.
 */
async function listInSync(
  times: ReplicationTimes,
  lease: VolumeLease,
  replicas: readonly Replica[],
  clock: Clock,
): Promise<Listed> {
  const limits = { clock, answerLimitMs: times.silentLimitMs };
  for (;;) {
    assertAnyInSync(lease, replicas);
    const inSync = replicas.filter((replica) => replica.is('inSync'));
    const listed: Listed = { table: new VersionTable(), differing: new Map() };
    const nodes = inSync.map((replica) => replica.link.node);
    try {
      await walkVersions(nodes, lease.record.layerId, limits, (objectIndex, versions) => {
        const lowest = versions.reduce(lowerVersion);
        listed.table.set(objectIndex, lowest);
        if (versions.every((version) => compareVersions(version, lowest) === 0)) return;
        const byReplica: (Version | undefined)[] = replicas.map(() => undefined);
        for (const [at, replica] of inSync.entries()) byReplica[replica.index] = versions[at];
        listed.differing.set(objectIndex, { versions: byReplica, changedBlocks: undefined });
      });
    } catch (error) {
      if (!(error instanceof ListingFailed)) throw error;
      const failed = inSync.find((replica) => replica.link.node === error.node)!;
      setAside(failed, describeError(error), clock);
      continue;
    }
    const anew = inSync.filter((replica) => replica.link.openId() !== replica.openId);
    if (anew.length === 0) return listed;
    for (const replica of anew) setAside(replica, 'it was opened anew meanwhile', clock);
  }
}

function lowerVersion(a: Version, b: Version): Version {
  return compareVersions(a, b) <= 0 ? a : b;
}
