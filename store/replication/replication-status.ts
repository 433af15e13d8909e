/**
 * What an operator sees of one attached volume's replication.
 *
 * Owns: the shape and how it is put together from the parts' figures.
 */
import type { Replica } from './replica.ts';
import type { ReplicaState } from './replica-states.ts';
import type { Resync } from './resync.ts';
import type { VolumeContext } from './volume-context.ts';

export interface ReplicaStatus {
  readonly nodeId: string;
  readonly state: ReplicaState;
  /** Why it is not in sync; empty if it is. */
  readonly reason: string;
  /** Of one that is away: the objects known to have changed since. */
  readonly objectsBehind: number;
  /** Of these, the ones with a block that no copy can be read of; they keep it from coming in sync. */
  readonly objectsUnreadable: number;
  /** An estimate from the objects copied so far. */
  readonly bytesLeft: number;
  readonly bytesPerSecond: number;
  /** `undefined` while it cannot be told. */
  readonly secondsLeft: number | undefined;
  readonly resyncBytes: number;
  readonly takeOuts: number;
  readonly crcFailures: number;
  readonly repairs: number;
  readonly readLatencyMs: number;
}

export interface ReplicationStatus {
  readonly volumeName: string;
  readonly epoch: number;
  readonly copies: number;
  readonly minInSync: number;
  readonly inSync: number;
  /** False while writes wait for copies. */
  readonly areWritesServed: boolean;
  readonly objectsBehind: number;
  /** Objects whose live copies differ and are being made equal. */
  readonly objectsDiffering: number;
  readonly replicas: readonly ReplicaStatus[];
}

export function statusOf(
  context: VolumeContext,
  resyncs: readonly Resync[],
  objectsDiffering: number,
  objectBytes: number,
): ReplicationStatus {
  const { set, lease, volumeName } = context;
  const replicas = set.replicas.map((replica, index) =>
    replicaStatus(replica, resyncs[index]!, objectBytes),
  );
  return {
    volumeName,
    epoch: lease.epoch,
    copies: set.replicas.length,
    minInSync: set.minInSync,
    inSync: set.replicas.filter((replica) => replica.is('inSync')).length,
    areWritesServed: set.areAcksAllowed && lease.holds(),
    objectsBehind: replicas.reduce((sum, replica) => sum + replica.objectsBehind, 0),
    objectsDiffering,
    replicas,
  };
}

function replicaStatus(replica: Replica, resync: Resync, objectBytes: number): ReplicaStatus {
  const { resyncBytes, resyncObjects, behind, delta } = replica;
  const isAway = replica.is('out') || replica.is('leaving');
  const objectsBehind = isAway ? delta.count : behind.count;
  const bytesPerObject = resyncObjects === 0 ? objectBytes : resyncBytes / resyncObjects;
  const bytesLeft = Math.round(objectsBehind * bytesPerObject);
  const { bytesPerSecond } = resync;
  return {
    nodeId: replica.nodeId,
    state: replica.state,
    reason: replica.is('inSync') ? '' : replica.reason,
    objectsBehind,
    objectsUnreadable: replica.objectsUnreadable,
    bytesLeft,
    bytesPerSecond,
    secondsLeft: bytesPerSecond > 0 ? bytesLeft / bytesPerSecond : undefined,
    resyncBytes,
    takeOuts: replica.takeOuts,
    crcFailures: replica.crcFailures,
    repairs: replica.repairs,
    readLatencyMs: replica.latency.meanMs,
  };
}
