/**
 * The process itself: what it is, what it uses.
 */
import { collectDefaultMetrics, type Registry } from 'prom-client';
import { gauge, registerFamilies } from './metric-family.ts';

/**
 * What the event loop has in hand. Of each pair one is a gauge named as counters are, which
 * `promtool check metrics` refuses; the other's labels come and go.
 */
const LEFT_OUT = [
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
  'nodejs_active_resources',
  'nodejs_active_resources_total',
];

export function registerProcessMetrics(registry: Registry, version: string): void {
  collectDefaultMetrics({ register: registry });
  for (const name of LEFT_OUT) registry.removeSingleMetric(name);
  const labels = { version, node: process.version };
  registerFamilies(registry, [
    gauge('drover_build_info', 'Always 1; the labels say what runs.', () => [{ labels, value: 1 }]),
  ]);
}
