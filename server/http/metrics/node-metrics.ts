/**
 * The store nodes as this process sees them, as metric families.
 */
import type { NodeStatus } from '../status-api.ts';
import { gauge, type MetricFamily, type Sample } from './metric-family.ts';

export function nodeMetrics(nodes: () => readonly NodeStatus[]): MetricFamily[] {
  const known = (look: (node: NodeStatus) => number | null) => (): Sample[] =>
    nodes().flatMap((node) => {
      const value = look(node);
      return value === null ? [] : [{ labels: { node: node.nodeId }, value }];
    });
  return [
    gauge(
      'drover_node_up',
      '1 while the store node is reached and takes writes.',
      known((node) => (node.state === 'up' ? 1 : 0)),
    ),
    gauge(
      'drover_node_capacity_bytes',
      'What the node may use.',
      known((node) => node.capacityBytes),
    ),
    gauge(
      'drover_node_free_bytes',
      'What writers can still use on it.',
      known((node) => node.freeBytes),
    ),
  ];
}
