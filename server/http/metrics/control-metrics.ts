/**
 * What this process asked of the control plane, and how long its leases would last without it, as
 * metric families.
 */
import {
  CONTROL_OPERATIONS,
  CONTROL_OUTCOMES,
  type ControlStats,
} from '../../../store/control/control-stats.ts';
import { byLabel, counter, gauge, histogram, type MetricFamily } from './metric-family.ts';

/** The part of the session that is looked at. */
export interface SessionView {
  /** 0 when there is none. */
  leftMs(): number;
}

export function controlMetrics(stats: ControlStats, session: SessionView): MetricFamily[] {
  return [
    counter('drover_control_requests_total', 'Requests to the control plane.', () =>
      CONTROL_OPERATIONS.flatMap((operation) =>
        CONTROL_OUTCOMES.map((outcome) => ({
          labels: { operation, outcome },
          value: stats.operations[operation].outcomes[outcome],
        })),
      ),
    ),
    histogram(
      'drover_control_request_duration_seconds',
      'From a request to the control plane to its answer.',
      () =>
        CONTROL_OPERATIONS.map((operation) => ({
          labels: { operation },
          histogram: stats.operations[operation].latencySeconds,
        })),
    ),
    counter(
      'drover_control_watch_interruptions_total',
      'Times that changes had to be listed again because a watch ended.',
      () => stats.watchInterruptions,
    ),
    counter(
      'drover_control_session_renewals_total',
      'Renewals of the session that leases are bound to.',
      () => byLabel('outcome', { ok: stats.renewals, failed: stats.failedRenewals }),
    ),
    counter(
      'drover_control_session_losses_total',
      'Sessions that the control plane ended.',
      () => stats.sessionLosses,
    ),
    gauge(
      'drover_control_session_left_seconds',
      'Time until leases held here are over, unless the session is renewed.',
      () => session.leftMs() / 1000,
    ),
  ];
}
