/**
 * What replication needs to know of the road to one node, besides the node itself.
 *
 * Owns the interface, and the link to a node of the same process. The link over a network is made
 * from a peer client by the programs.
 */
import type { ReplicaNode } from '../engine/replica-node.ts';

export interface ReplicaLink {
  /** The name of the node in volume records; it outlives the node's data directory. */
  readonly nodeId: string;
  readonly node: ReplicaNode;
  /**
   * The identity of the data directory that answers under this name; `undefined` until the node
   * was reached. Another directory than the one recorded for a copy holds nothing of it.
   */
  directoryId(): string | undefined;
  /**
   * Changes whenever the node was opened anew; `undefined` until it was reached. A node that was
   * restarted may have lost what it had, so its versions are compared.
   */
  openId(): string | undefined;
  /** Whether a request sent now is on its way at once. */
  isUp(): boolean;
  /** Since when (`Clock.nowMs`) connections to the node are refused or broken; `undefined`: not. */
  refusedSinceMs(): number | undefined;
  /** Since when the node owes any sign of life that it was asked for; `undefined`: it does not. */
  silentSinceMs(): number | undefined;
  /** Rejects everything that was asked and not answered, and sends nothing of it later. */
  abandon(reason: string): void;
  /**
   * True if the node may use the payload of a write after `abandon`: then it may come to hold a
   * version with bytes that were changed since, and such objects are copied whole.
   */
  readonly mayUsePayloadLater: boolean;
}

/** The link to a node of the same process: always up, and nothing can be taken back. */
export function inProcessLink(
  nodeId: string,
  node: ReplicaNode,
  directoryId: string = node.nodeId,
): ReplicaLink {
  return {
    nodeId,
    node,
    directoryId: () => directoryId,
    openId: () => directoryId,
    isUp: () => true,
    refusedSinceMs: () => undefined,
    silentSinceMs: () => undefined,
    abandon: () => undefined,
    mayUsePayloadLater: true,
  };
}
