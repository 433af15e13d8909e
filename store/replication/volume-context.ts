/**
 * What every part of one attached volume's replication shares. No behaviour.
 */
import type { ObjectKey } from '../engine/store-node.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import type { ObjectGates } from './object-gates.ts';
import type { ReplicaSet } from './replica-set.ts';
import type { ReplicationStats } from './replication-stats.ts';
import type { VersionTable } from './version-table.ts';
import type { VolumeLease } from './volume-lease.ts';

export interface VolumeContext {
  readonly volumeName: string;
  readonly volumeId: number;
  readonly layerId: number;
  readonly blocksPerObject: number;
  readonly lease: VolumeLease;
  readonly set: ReplicaSet;
  /** The acknowledged version of every object. */
  readonly table: VersionTable;
  readonly gates: ObjectGates;
  readonly clock: Clock;
  readonly log: Logger;
  readonly stats: ReplicationStats;
}

export function objectKey(context: VolumeContext, objectIndex: number): ObjectKey {
  return { layerId: context.layerId, objectIndex };
}
