/**
 * The part of a volume's record that says where its copies are, and the record of its lease.
 *
 * Owns the shapes. Only the holder of the volume's lease changes `inSync`; whoever takes the lease
 * raises the volume's epoch in the same transaction that writes the lease's record, so a change
 * made on a record of an older epoch conflicts.
 */
import { z } from 'zod';

export const replicaSetSchema = z.object({
  /** Copies wanted. */
  copies: z.int().min(1).max(16),
  /** A write is acknowledged only when so many copies are in sync. */
  minInSync: z.int().min(1).max(16),
  /** The nodes that hold the copies, or are to hold them. */
  nodes: z.array(z.string()).min(1).max(16),
  /** Those whose copies hold every acknowledged write. */
  inSync: z.array(z.string()),
  /**
   * The data directory that each node had when it came in sync. A node that answers with another
   * one holds nothing; a node that is not named here is taken as it comes.
   */
  directories: z.record(z.string(), z.string()),
});

export type ReplicaSetRecord = z.infer<typeof replicaSetSchema>;

/** The copies that a write needs, unless its owner says otherwise: a majority of three, one of one. */
export function minInSyncOf(copies: number): number {
  return Math.floor(copies / 2) + 1;
}

/** The replica set of a new volume: every copy is in sync, because every copy is empty. */
export function newReplicaSet(
  nodes: readonly { readonly nodeId: string; readonly directoryId?: string | undefined }[],
  minInSync: number = minInSyncOf(nodes.length),
): ReplicaSetRecord {
  const directories: Record<string, string> = {};
  for (const node of nodes) {
    if (node.directoryId !== undefined) directories[node.nodeId] = node.directoryId;
  }
  const nodeIds = nodes.map((node) => node.nodeId);
  return { copies: nodes.length, minInSync, nodes: nodeIds, inSync: nodeIds, directories };
}

/** Bound to the holder's session: it is there exactly as long as the lease is held. */
export const leaseRecordSchema = z.object({
  epoch: z.int().min(1),
  /** Names the holder in messages. */
  holderId: z.string(),
  /** A gateway may take over from a steward, and from nobody else. */
  holderKind: z.enum(['gateway', 'steward']),
});

export type LeaseRecord = z.infer<typeof leaseRecordSchema>;

export const LEASES_PREFIX = 'leases/';

export function leaseKey(volumeId: number): string {
  return `${LEASES_PREFIX}${volumeId}`;
}
