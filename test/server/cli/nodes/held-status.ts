/**
 * What replication tells of a volume, for tests of what is made of it.
 */
import type {
  ReplicaStatus,
  ReplicationStatus,
} from '../../../../store/replication/replication-status.ts';

/** Three copies, the third of which lacks so many objects; with 0 it is in sync. */
export function statusOf(volumeName: string, objectsBehind: number): ReplicationStatus {
  const isWhole = objectsBehind === 0;
  const replica = (nodeId: string): ReplicaStatus => ({
    ...{ nodeId, state: 'inSync', reason: '', objectsBehind: 0, objectsUnreadable: 0 },
    ...{ bytesLeft: 0, bytesPerSecond: 0, secondsLeft: undefined, resyncBytes: 0, takeOuts: 0 },
    ...{ crcFailures: 0, repairs: 0, readLatencyMs: 1 },
  });
  const copied: Partial<ReplicaStatus> = isWhole
    ? {}
    : { state: 'copying', reason: 'killed', objectsBehind, bytesPerSecond: 100, secondsLeft: 6 };
  return {
    ...{ volumeName, epoch: 1, copies: 3, minInSync: 2, inSync: isWhole ? 3 : 2 },
    ...{ areWritesServed: true, objectsBehind, objectsDiffering: 0 },
    replicas: [replica('n1'), replica('n2'), { ...replica('n3'), ...copied }],
  };
}
