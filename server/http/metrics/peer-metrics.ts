/**
 * What this process sent to store nodes and got back, as metric families.
 */
import type { PeerClientStats } from '../../../store/peer/peer-stats.ts';
import {
  counter,
  gauge,
  histogram,
  type Labels,
  type MetricFamily,
  type Sample,
} from './metric-family.ts';

/** The part of a client that is looked at. */
export interface PeerView {
  readonly nodeId: string;
  readonly stats: PeerClientStats;
  readonly outstanding: number;
}

const OPERATIONS = ['write', 'read', 'other'] as const;

export function peerMetrics(peers: () => readonly PeerView[]): MetricFamily[] {
  const each = (look: (stats: PeerClientStats) => number) => (): Sample[] =>
    peers().map(({ nodeId, stats }) => ({ labels: { node: nodeId }, value: look(stats) }));
  const operations = <T>(look: (peer: PeerView, operation: (typeof OPERATIONS)[number]) => T) =>
    peers().flatMap((peer) =>
      OPERATIONS.map((operation) => ({
        labels: { node: peer.nodeId, operation } satisfies Labels,
        seen: look(peer, operation),
      })),
    );
  return [
    histogram(
      'drover_node_request_duration_seconds',
      'From a request to a store node to its answer.',
      () =>
        operations(({ stats }, operation) => stats[operation].latencySeconds).map(
          ({ labels, seen }) => ({ labels, histogram: seen }),
        ),
    ),
    counter('drover_node_request_errors_total', 'Answers that were an error.', () =>
      operations(({ stats }, operation) => stats[operation].errors).map(({ labels, seen }) => ({
        labels,
        value: seen,
      })),
    ),
    gauge('drover_node_requests_outstanding', 'Requests that are not answered.', () =>
      peers().map(({ nodeId, outstanding }) => ({ labels: { node: nodeId }, value: outstanding })),
    ),
    counter(
      'drover_node_sent_bytes_total',
      'Sent to the node, headers too.',
      each((s) => s.sentBytes),
    ),
    counter(
      'drover_node_received_bytes_total',
      'Received from the node, headers too.',
      each((s) => s.receivedBytes),
    ),
    counter(
      'drover_node_connects_total',
      'Connections made to the node.',
      each((s) => s.connects),
    ),
    counter(
      'drover_node_resends_total',
      'Requests sent again on a new connection.',
      each((s) => s.resends),
    ),
  ];
}
