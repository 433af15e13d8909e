/**
 * What the NBD server counted, as metric families.
 */
import { COMMAND_NAMES, ERROR_NAMES, type NbdStats } from '../../nbd/stats.ts';
import {
  byLabel,
  counter,
  gauge,
  histogram,
  type MetricFamily,
  type Sample,
} from './metric-family.ts';

function byCommand(counts: Float64Array): Sample[] {
  return COMMAND_NAMES.map((command, index) => ({ labels: { command }, value: counts[index]! }));
}

function errorSamples(stats: NbdStats): Sample[] {
  return COMMAND_NAMES.flatMap((command, commandIndex) =>
    ERROR_NAMES.map((error, errorIndex) => ({
      labels: { command, error },
      value: stats.errorCount(commandIndex, errorIndex),
    })),
  );
}

export function nbdMetrics(stats: NbdStats): MetricFamily[] {
  return [
    counter('drover_nbd_requests_total', 'Requests answered, with or without an error.', () =>
      byCommand(stats.requests),
    ),
    counter('drover_nbd_request_bytes_total', 'Length of the requests carried out.', () =>
      byCommand(stats.requestBytes),
    ),
    counter('drover_nbd_errors_total', 'Requests answered with an error.', () =>
      errorSamples(stats),
    ),
    histogram(
      'drover_nbd_request_duration_seconds',
      'From the arrival of a request to its reply.',
      () =>
        COMMAND_NAMES.map((command, index) => ({
          labels: { command },
          histogram: stats.durations[index]!,
        })),
    ),
    gauge('drover_nbd_connections', 'Open connections.', () => stats.connectionsOpen),
    counter(
      'drover_nbd_connections_total',
      'Connections that ever came, by what became of them.',
      () =>
        byLabel('outcome', {
          accepted: stats.connectionsAccepted,
          refused: stats.connectionsRefused,
          faulted: stats.connectionsFaulted,
        }),
    ),
  ];
}
