/**
 * The road to a node that nobody knows (any more): never up.
 */
import type { ReplicaLink } from '../../../store/replication/replica-link.ts';
import { missingNode } from './missing-node.ts';

export function absentLink(nodeId: string, sinceMs: number): ReplicaLink {
  return {
    nodeId,
    node: missingNode(nodeId, () => 'there is no such node'),
    directoryId: () => undefined,
    openId: () => undefined,
    isUp: () => false,
    refusedSinceMs: () => sinceMs,
    silentSinceMs: () => undefined,
    abandon: () => undefined,
    mayUsePayloadLater: false,
  };
}
