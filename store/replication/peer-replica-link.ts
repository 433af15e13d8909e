/**
 * The link to a node that is reached over the network.
 *
 * Owns: telling replication, in its terms, what a peer client knows of its node.
 */
import type { PeerClient } from '../peer/peer-client.ts';
import type { ReplicaLink } from './replica-link.ts';

/** The client's `nodeId` is the name of the node in volume records. */
export function peerReplicaLink(client: PeerClient): ReplicaLink {
  return {
    nodeId: client.nodeId,
    node: client,
    directoryId: () => client.identity?.directoryId,
    openId: () => client.identity?.openId,
    isUp: () => client.state === 'up',
    // A connection that a killed node had is broken first and refused at the next attempt.
    refusedSinceMs: () => client.health.refusedSinceMs,
    silentSinceMs: () => client.health.silentSinceMs,
    abandon: (reason) => client.abandon(reason),
    mayUsePayloadLater: false,
  };
}
