/**
 * What a store node is asked over the network, as metric families.
 */
import type { PeerServerStats } from '../../../store/peer/peer-server.ts';
import { counter, gauge, type MetricFamily } from './metric-family.ts';

export function peerServerMetrics(stats: () => PeerServerStats): MetricFamily[] {
  return [
    gauge('drover_peer_connections', 'Connections of gateways and other nodes.', () => {
      return stats().connections;
    }),
    counter('drover_peer_requests_total', 'Requests answered.', () => stats().requests),
    counter('drover_peer_errors_total', 'Of these, with an error.', () => stats().errors),
    counter(
      'drover_peer_corrupt_requests_total',
      'Payload that did not match its checksum.',
      () => {
        return stats().corruptRequests;
      },
    ),
    counter('drover_peer_received_bytes_total', 'Received, headers too.', () => {
      return stats().receivedBytes;
    }),
    counter('drover_peer_sent_bytes_total', 'Sent, headers too.', () => stats().sentBytes),
    gauge('drover_peer_held_bytes', 'Held for requests and answers.', () => stats().heldBytes),
  ];
}
