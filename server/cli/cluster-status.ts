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
} from '../../store/control/replica-set-record.ts';
import type { VolumeRecord } from '../../store/control/volume-record.ts';
import type { VerifyOptions, VerifyReport } from '../../store/replication/verify.ts';
import { DroverError, isDroverError } from '../../store/runtime/drover-error.ts';
import type {
  ClusterStatus,
  ClusterStatusSource,
  HeldCopies,
  NodeStatus,
} from '../http/status-api.ts';
import type { AttachedReplication, VolumeRegistry } from '../volume/registry.ts';
import { HOLDER_REPORTS_PREFIX, reportedCopies } from './nodes/holder-report.ts';
import { heldCopies, recordedCopies, volumeCopies } from './volume-copies.ts';

export interface ClusterStatusOptions {
  readonly control: Pick<ControlPlane, 'list'>;
  readonly volumes: Pick<VolumeRegistry, 'attached' | 'records' | 'verify'>;
  readonly holderId: string;
  /** Volumes that nobody has attached and whose copies this process brings back. */
  readonly tended: () => readonly AttachedReplication[];
  readonly nodes: () => readonly NodeStatus[];
}

export class ClusterStatusView implements ClusterStatusSource {
  readonly #options: ClusterStatusOptions;

  constructor(options: ClusterStatusOptions) {
    this.#options = options;
  }

  async status(): Promise<ClusterStatus> {
    const { control, volumes, tended } = this.#options;
    const leases = await this.#leases();
    const reported = reportedCopies(await control.list(HOLDER_REPORTS_PREFIX));
    const here = [...volumes.attached(), ...tended()];
    const copies = volumes.records().map((record) => {
      const lease = leases.get(leaseKey(record.id));
      const local = here.find(({ name }) => name === record.name);
      const held =
        local === undefined
          ? reported.find((one) => isOf(one, record, lease))
          : heldCopies(lease?.holderId ?? this.#options.holderId, local.replication.status());
      return held === undefined ? recordedCopies(record, lease) : volumeCopies(record, held);
    });
    return { volumes: copies, nodes: [...this.nodes()] };
  }

  async #leases(): Promise<Map<string, LeaseRecord>> {
    const leases = new Map<string, LeaseRecord>();
    for (const { key, value } of await this.#options.control.list(LEASES_PREFIX)) {
      const lease = leaseRecordSchema.safeParse(value);
      if (lease.success) leases.set(key, lease.data);
    }
    return leases;
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

/** Whether a report is of the volume's holder of now, rather than of an earlier one. */
function isOf(report: HeldCopies, { name }: VolumeRecord, lease: LeaseRecord | undefined): boolean {
  return report.name === name && report.epoch === lease?.epoch && report.holder === lease.holderId;
}
