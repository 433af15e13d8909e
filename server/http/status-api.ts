/**
 * The status API's messages, as both its server and the command line see them.
 *
 * Owns their shapes. What is not known is `null`: of a volume that another process has attached,
 * only what the control plane records is known here, and while copies are missing what that process
 * tells of them.
 */
import { z } from 'zod';
import type { VerifyOptions, VerifyReport } from '../../store/replication/verify.ts';

export const STATUS_PATH = '/v1/status';
export const NODES_PATH = '/v1/nodes';

const resyncSchema = z.object({
  bytesPerSecond: z.number(),
  secondsLeft: z.number().nullable(),
});

export const replicaStatusSchema = z.object({
  nodeId: z.string(),
  state: z.string(),
  reason: z.string(),
  objectsBehind: z.int().nullable(),
  bytesBehind: z.number().nullable(),
  /** `null` while nothing is copied. */
  resync: resyncSchema.nullable(),
});

/** A volume's copies as the holder of its lease knows them. */
export const heldCopiesSchema = z.object({
  name: z.string(),
  /** Who has it attached; `null`: nobody. */
  holder: z.string().nullable(),
  epoch: z.int(),
  copies: z.int(),
  minInSync: z.int(),
  inSyncCopies: z.int(),
  objectsBehind: z.int().nullable(),
  /** Whether writes are answered; `null` where that is not known. */
  areWritesServed: z.boolean().nullable(),
  replicas: z.array(replicaStatusSchema),
});

export const volumeCopiesSchema = heldCopiesSchema.extend({ id: z.int(), sizeBytes: z.int() });

export const nodeStatusSchema = z.object({
  nodeId: z.string(),
  zone: z.string(),
  /** Where it is reached, or its directory in the same process. */
  address: z.string(),
  state: z.string(),
  reason: z.string().nullable(),
  capacityBytes: z.int().nullable(),
  liveBytes: z.int().nullable(),
  freeBytes: z.int().nullable(),
  objectCount: z.int().nullable(),
  /** When it last told of itself, as ISO 8601; `null` for one of the same process. */
  lastSeen: z.string().nullable(),
});

export const statusSchema = z.object({
  volumes: z.array(volumeCopiesSchema),
  nodes: z.array(nodeStatusSchema),
});

export const nodeListSchema = z.object({ nodes: z.array(nodeStatusSchema) });

export const verifyBodySchema = z.strictObject({ isDeep: z.boolean().optional() });

export type ReplicaStatusMessage = z.infer<typeof replicaStatusSchema>;
export type HeldCopies = z.infer<typeof heldCopiesSchema>;
export type VolumeCopies = z.infer<typeof volumeCopiesSchema>;
export type NodeStatus = z.infer<typeof nodeStatusSchema>;
export type ClusterStatus = z.infer<typeof statusSchema>;

/** What the API asks; errors are DroverErrors. */
export interface ClusterStatusSource {
  status(): Promise<ClusterStatus>;
  nodes(): readonly NodeStatus[];
  verify(name: string, options: VerifyOptions): Promise<VerifyReport>;
}
