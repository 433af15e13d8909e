/**
 * What status tells of one volume's copies, from what is known of them.
 *
 * Owns the translation: of a volume attached here from its replication, of another one from its
 * record, and from what its holder tells of it where a copy is missing.
 */
import { type LeaseRecord, newReplicaSet } from '../../store/control/replica-set-record.ts';
import type { VolumeRecord } from '../../store/control/volume-record.ts';
import type {
  ReplicaStatus,
  ReplicationStatus,
} from '../../store/replication/replication-status.ts';
import type { HeldCopies, ReplicaStatusMessage, VolumeCopies } from '../http/status-api.ts';

/** As the process sees it that holds the volume's lease under the name `holder`. */
export function heldCopies(holder: string, status: ReplicationStatus): HeldCopies {
  const { volumeName, epoch, copies, minInSync, inSync, objectsBehind, areWritesServed } = status;
  return {
    ...{ name: volumeName, holder, epoch, copies, minInSync },
    ...{ inSyncCopies: inSync, objectsBehind, areWritesServed },
    replicas: status.replicas.map(replicaMessage),
  };
}

export function volumeCopies({ id, sizeBytes }: VolumeRecord, held: HeldCopies): VolumeCopies {
  return { id, sizeBytes, ...held };
}

function replicaMessage(replica: ReplicaStatus): ReplicaStatusMessage {
  const { nodeId, state, reason, objectsBehind, bytesLeft, bytesPerSecond } = replica;
  const secondsLeft = replica.secondsLeft ?? null;
  const resync = state === 'copying' ? { bytesPerSecond, secondsLeft } : null;
  return { nodeId, state, reason, objectsBehind, bytesBehind: bytesLeft, resync };
}

/** Of a volume that nobody has attached, or whose holder tells nothing of it. */
export function recordedCopies(record: VolumeRecord, lease: LeaseRecord | undefined): VolumeCopies {
  const { id, name, sizeBytes, epoch } = record;
  const set = record.replicas ?? newReplicaSet([{ nodeId: '' }]);
  const { copies, minInSync, inSync, nodes } = set;
  const isWhole = nodes.every((nodeId) => inSync.includes(nodeId));
  return {
    ...{ id, name, sizeBytes, epoch, copies, minInSync },
    holder: lease?.holderId ?? null,
    inSyncCopies: inSync.length,
    objectsBehind: isWhole ? 0 : null,
    areWritesServed: null,
    replicas: nodes.map((nodeId) => {
      const isInSync = inSync.includes(nodeId);
      const behind = isInSync ? 0 : null;
      const state = isInSync ? 'inSync' : 'out';
      return {
        ...{ nodeId, state, reason: '', objectsBehind: behind, bytesBehind: behind },
        resync: null,
      };
    }),
  };
}
