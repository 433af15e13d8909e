/**
 * The state of all volumes and nodes, as far as this process knows it.
 *
 * Owns: putting together what the registry, the replication of the volumes attached here, and the
 * control plane's records say. Does not own any of it.
 */
import type { ControlPlane } from '../../store/control/control-plane.ts';
import {
  LEASES_PREFIX,
  type LeaseRecord,
  leaseKey,
  leaseRecordSchema,
  newReplicaSet,
} from '../../store/control/replica-set-record.ts';
import type { VolumeRecord } from '../../store/control/volume-record.ts';
import type {
  ReplicaStatus,
  ReplicationStatus,
} from '../../store/replication/replication-status.ts';
import type { VerifyOptions, VerifyReport } from '../../store/replication/verify.ts';
import { DroverError, isDroverError } from '../../store/runtime/drover-error.ts';
import type {
  ClusterStatus,
  ClusterStatusSource,
  NodeStatus,
  ReplicaStatusMessage,
  VolumeCopies,
} from '../http/status-api.ts';
import type { VolumeRegistry } from '../volume/registry.ts';

export interface ClusterStatusOptions {
  readonly control: Pick<ControlPlane, 'list'>;
  readonly volumes: VolumeRegistry;
  readonly holderId: string;
  readonly nodes: () => readonly NodeStatus[];
}

export class ClusterStatusView implements ClusterStatusSource {
  readonly #options: ClusterStatusOptions;

  constructor(options: ClusterStatusOptions) {
    this.#options = options;
  }

  async status(): Promise<ClusterStatus> {
    const { control, volumes, holderId } = this.#options;
    const leases = new Map<string, LeaseRecord>();
    for (const { key, value } of await control.list(LEASES_PREFIX)) {
      const lease = leaseRecordSchema.safeParse(value);
      if (lease.success) leases.set(key, lease.data);
    }
    const attached = new Map(volumes.attached().map((one) => [one.name, one.replication]));
    const copies = volumes.records().map((record) => {
      const replication = attached.get(record.name);
      return replication === undefined
        ? recordedCopies(record, leases.get(leaseKey(record.id)))
        : attachedCopies(record, holderId, replication.status());
    });
    return { volumes: copies, nodes: [...this.nodes()] };
  }

  nodes(): readonly NodeStatus[] {
    return this.#options.nodes();
  }

  async verify(name: string, options: VerifyOptions): Promise<VerifyReport> {
    try {
      return await this.#options.volumes.verify(name, options);
    } catch (error) {
      if (!isDroverError(error, 'busy')) throw error;
      const advice = 'the process that has it attached compares its copies: name it with --server';
      throw new DroverError('busy', `${error.message}; ${advice}`);
    }
  }
}

function attachedCopies(
  { id, name, sizeBytes }: VolumeRecord,
  holder: string,
  status: ReplicationStatus,
): VolumeCopies {
  const { epoch, copies, minInSync, inSync, objectsBehind, areWritesServed } = status;
  return {
    ...{ id, name, sizeBytes, holder, epoch, copies, minInSync },
    ...{ inSyncCopies: inSync, objectsBehind, areWritesServed },
    replicas: status.replicas.map(replicaMessage),
  };
}

function replicaMessage(replica: ReplicaStatus): ReplicaStatusMessage {
  const { nodeId, state, reason, objectsBehind, bytesLeft, bytesPerSecond } = replica;
  const secondsLeft = replica.secondsLeft ?? null;
  const resync = state === 'copying' ? { bytesPerSecond, secondsLeft } : null;
  return { nodeId, state, reason, objectsBehind, bytesBehind: bytesLeft, resync };
}

/** Of a volume that is attached by another process, or by nobody. */
function recordedCopies(record: VolumeRecord, lease: LeaseRecord | undefined): VolumeCopies {
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
        nodeId,
        state,
        reason: '',
        objectsBehind: behind,
        bytesBehind: behind,
        resync: null,
      };
    }),
  };
}
