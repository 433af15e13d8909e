/**
 * The store nodes of a cluster as this process reaches them over the network.
 *
 * Owns: one client for each registered node, at the address that it registered, and the
 * `ReplicaLink` of each. Volumes share the client of a node: what it leaves unanswered for one
 * volume it owes to all.
 */

import type { ControlPlane } from '../../../store/control/control-plane.ts';
import { newReplicaSet, type ReplicaSetRecord } from '../../../store/control/replica-set-record.ts';
import type { ReplicaNode } from '../../../store/engine/replica-node.ts';
import type { PeerRole } from '../../../store/peer/greeting.ts';
import { PeerClient } from '../../../store/peer/peer-client.ts';
import { placeVolume } from '../../../store/replication/placement.ts';
import type { ReplicaLink } from '../../../store/replication/replica-link.ts';
import type { Clock } from '../../../store/runtime/clock.ts';
import type { Logger } from '../../../store/runtime/logger.ts';
import type { Network } from '../../../store/runtime/network.ts';
import type { Random } from '../../../store/runtime/random.ts';
import type { NodeStatus } from '../../http/status-api.ts';
import { missingNode } from './missing-node.ts';
import { NodeDirectory } from './node-directory.ts';
import type { NodeRecord } from './node-record.ts';

export interface PeerNodesOptions {
  readonly control: Pick<ControlPlane, 'watch' | 'list'>;
  readonly clusterId: string;
  readonly role: PeerRole;
  /** What this process is called in the nodes' logs. */
  readonly ownName: string;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Silence after which a connection is given up. */
  readonly silentLimitMs?: number | undefined;
}

export class PeerNodes {
  readonly #options: PeerNodesOptions;
  readonly #directory: NodeDirectory;
  readonly #clients = new Map<string, PeerClient>();
  readonly #links = new Map<string, ReplicaLink>();

  constructor(options: PeerNodesOptions) {
    this.#options = options;
    const { control, log } = options;
    this.#directory = new NodeDirectory({ control, log, onRecord: (record) => this.#note(record) });
  }

  /** Error: `unavailable`. */
  start(): Promise<void> {
    return this.#directory.start();
  }

  close(): void {
    this.#directory.stop();
    for (const client of this.#clients.values()) client.close();
  }

  /** There is always one, also to a node that is not registered (yet). */
  link(nodeId: string): ReplicaLink {
    let link = this.#links.get(nodeId);
    if (link === undefined) {
      link = this.#makeLink(nodeId);
      this.#links.set(nodeId, link);
    }
    return link;
  }

  /** For copies from node to node. */
  resolve(nodeId: string): ReplicaNode | undefined {
    return this.#clients.get(nodeId);
  }

  get clients(): readonly PeerClient[] {
    return [...this.#clients.values()];
  }

  /** Registered nodes that live. */
  get aliveCount(): number {
    return this.#alive().length;
  }

  /**
   * The copies of a new volume; on nodes that live, as far as there are enough.
   * Error: `unavailable` if too few are registered.
   */
  place(volumeId: number, copies: number, minInSync: number): ReplicaSetRecord {
    const alive = this.#alive();
    const all = this.#directory.list();
    const candidates = alive.length >= copies ? alive : all;
    const chosen = placeVolume(candidates, volumeId, copies);
    return newReplicaSet(
      chosen.map((nodeId) => all.find((record) => record.nodeId === nodeId)!),
      minInSync,
    );
  }

  status(): NodeStatus[] {
    return this.#directory.list().map((record) => {
      const { nodeId, zone, address, failure, seenAt } = record;
      const { capacityBytes, liveBytes, freeBytes, objectCount } = record;
      const state = this.#stateOf(record);
      return {
        ...{ nodeId, zone, address: `${address.host}:${address.port}`, state },
        reason: state === 'up' ? null : this.#reasonOf(nodeId, failure),
        ...{ capacityBytes, liveBytes, freeBytes, objectCount, lastSeen: seenAt },
      };
    });
  }

  #alive(): NodeRecord[] {
    return this.#directory.list().filter(({ nodeId }) => this.#directory.isAlive(nodeId));
  }

  #stateOf({ nodeId, failure }: NodeRecord): string {
    const isReached = this.#clients.get(nodeId)?.state === 'up';
    if (!isReached) return this.#directory.isAlive(nodeId) ? 'unreachable' : 'down';
    if (this.#isSilent(nodeId)) return 'silent';
    return failure === '' ? 'up' : 'failed';
  }

  /** Whether the node owes a sign of life for longer than a moment. */
  #isSilent(nodeId: string): boolean {
    const sinceMs = this.#clients.get(nodeId)?.health.silentSinceMs;
    return sinceMs !== undefined && this.#options.clock.nowMs() - sinceMs > SILENT_STATUS_MS;
  }

  #reasonOf(nodeId: string, failure: string): string {
    return failure === '' ? (this.#clients.get(nodeId)?.health.lastFailure ?? '') : failure;
  }

  #note(record: NodeRecord): void {
    const { nodeId, address } = record;
    const client = this.#clients.get(nodeId);
    if (client !== undefined) {
      client.changeAddress(address);
      return;
    }
    const { clusterId, role, ownName, network, clock, random, log, silentLimitMs } = this.#options;
    const times = silentLimitMs === undefined ? {} : { times: { silentLimitMs } };
    this.#clients.set(
      nodeId,
      new PeerClient({
        ...{ nodeId, address, clusterId, role, ownName, network, clock, random, log },
        ...times,
      }),
    );
  }

  #makeLink(nodeId: string): ReplicaLink {
    const missing = missingNode(nodeId, () => 'it is not registered');
    const sinceMs = this.#options.clock.nowMs();
    const client = (): PeerClient | undefined => this.#clients.get(nodeId);
    return {
      nodeId,
      get node() {
        return client() ?? missing;
      },
      directoryId: () => client()?.identity?.directoryId,
      openId: () => client()?.identity?.openId,
      isUp: () => client()?.state === 'up',
      refusedSinceMs: () => {
        const known = client();
        return known === undefined ? sinceMs : known.health.refusedSinceMs;
      },
      silentSinceMs: () => client()?.health.silentSinceMs,
      abandon: (reason) => client()?.abandon(reason),
      mayUsePayloadLater: false,
    };
  }
}

const SILENT_STATUS_MS = 2_000;
