/**
 * For each alert a story in which it fires, and stories in which it must not.
 */
import { counter, type ExpectedAlert, gauge, type InputSeries } from './promtool.ts';

export interface FiringCase {
  readonly alert: string;
  readonly when: string;
  readonly series: readonly InputSeries[];
  /** From the start of the bad hour: not yet. The alerts of one sample have none. */
  readonly notBeforeSeconds?: number;
  readonly firesAfterMin: number;
  readonly expected: ExpectedAlert;
}

export interface QuietCase {
  readonly alert: string;
  readonly when: string;
  readonly series: readonly InputSeries[];
}

const gateway1 = 'job="drover-gateway",instance="gateway1:9809"';
const gateway2 = 'job="drover-gateway",instance="gateway2:9809"';
const store2 = 'job="drover-store",instance="store2:9809"';

/** A volume of three copies, as both gateways see it. */
function volume(well: number, bad: number): InputSeries[] {
  return [gateway1, gateway2].flatMap((gateway) => [
    gauge(`drover_volume_copies{${gateway},volume="disk0"}`, 3, 3),
    gauge(`drover_volume_min_in_sync_copies{${gateway},volume="disk0"}`, 2, 2),
    gauge(`drover_volume_in_sync_copies{${gateway},volume="disk0"}`, well, bad),
  ]);
}

function behind(nodeUp: number, bytesPerSample: number): InputSeries[] {
  return [
    gauge(`drover_volume_objects_behind{${gateway1},volume="disk0",node="store2"}`, 0, 7),
    gauge(`drover_node_up{${gateway1},node="store2"}`, 1, nodeUp),
    counter(
      `drover_resync_bytes_total{${gateway1},volume="disk0",node="store2"}`,
      0,
      bytesPerSample,
    ),
  ];
}

/** Ten flushes a sample, as slow in the bad hour as `badBuckets` says. */
function flushes(badBuckets: Readonly<Record<string, number>>): InputSeries[] {
  return Object.entries(badBuckets).map(([le, bad]) =>
    counter(`drover_flush_duration_seconds_bucket{${gateway1},le="${le}"}`, 10, bad),
  );
}

function space(freeBad: number): InputSeries[] {
  return [
    gauge(`drover_engine_free_bytes{${store2},node="store2"}`, 800, freeBad),
    gauge(`drover_engine_capacity_bytes{${store2},node="store2"}`, 1000, 1000),
  ];
}

interface ControlTrouble {
  readonly unavailable?: number;
  readonly conflict?: number;
  readonly failedRenewals?: number;
}

/** What a process asks of the control plane; the figures are of one sample in the bad hour. */
function control(process: string, bad: ControlTrouble): InputSeries[] {
  const requests = (outcome: string, count = 0) =>
    counter(
      `drover_control_requests_total{${process},operation="commit",outcome="${outcome}"}`,
      0,
      count,
    );
  const renewals = (outcome: string, count = 0) =>
    counter(`drover_control_session_renewals_total{${process},outcome="${outcome}"}`, 0, count);
  return [
    requests('unavailable', bad.unavailable),
    requests('conflict', bad.conflict),
    requests('ok', 3),
    renewals('failed', bad.failedRenewals),
    renewals('ok', 1),
  ];
}

const onGateway = { job: 'drover-gateway', instance: 'gateway1:9809' };
const onStore = { job: 'drover-store', instance: 'store2:9809' };
const warning = { severity: 'warning' };
const critical = { severity: 'critical' };

export const FIRING: readonly FiringCase[] = [
  {
    alert: 'DroverCopyMissing',
    when: 'one of three copies is not in sync',
    series: volume(3, 2),
    notBeforeSeconds: 20,
    firesAfterMin: 2,
    expected: {
      labels: { ...warning, volume: 'disk0' },
      summary: 'Volume disk0 lacks 1 of its copies.',
    },
  },
  {
    alert: 'DroverBelowMinimum',
    when: 'one copy of three is left where writing needs two',
    series: volume(3, 1),
    firesAfterMin: 1,
    expected: {
      labels: { ...critical, volume: 'disk0' },
      summary: 'Volume disk0 has 1 in-sync copies, too few for writing.',
    },
  },
  {
    alert: 'DroverResyncStalled',
    when: 'objects are behind and nothing is copied to a reachable node',
    series: behind(1, 0),
    notBeforeSeconds: 500,
    firesAfterMin: 25,
    expected: {
      labels: { ...warning, volume: 'disk0', node: 'store2' },
      summary: 'Volume disk0 on node store2: 7 objects are behind and none is copied.',
    },
  },
  {
    alert: 'DroverNodeDown',
    when: 'a store node does not answer Prometheus',
    series: [gauge(`up{${store2}}`, 1, 0)],
    notBeforeSeconds: 20,
    firesAfterMin: 1,
    expected: {
      labels: { ...warning, ...onStore },
      summary: 'Store node store2:9809 does not answer.',
    },
  },
  {
    alert: 'DroverNodeUnreachable',
    when: 'a gateway does not reach a node',
    series: [gauge(`drover_node_up{${gateway1},node="store2"}`, 1, 0)],
    notBeforeSeconds: 50,
    firesAfterMin: 2,
    expected: {
      labels: { ...warning, ...onGateway, node: 'store2' },
      summary: 'Gateway gateway1:9809 does not reach node store2.',
    },
  },
  {
    alert: 'DroverNodeFailed',
    when: 'an engine stops taking writes',
    series: [gauge(`drover_engine_up{${store2},node="store2"}`, 1, 0)],
    firesAfterMin: 1,
    expected: {
      labels: { ...critical, ...onStore, node: 'store2' },
      summary: 'Node store2 has stopped taking writes.',
    },
  },
  {
    alert: 'DroverNodeSpaceLow',
    when: 'less than a tenth of a node is free',
    series: space(80),
    notBeforeSeconds: 280,
    firesAfterMin: 6,
    expected: {
      labels: { ...warning, ...onStore, node: 'store2' },
      summary: 'Node store2 has 8% of its space left.',
    },
  },
  {
    alert: 'DroverChecksumFailures',
    when: 'blocks are read that do not match their checksums',
    series: [counter(`drover_crc_failures_total{${gateway1},volume="disk0",node="store2"}`, 0, 1)],
    firesAfterMin: 2,
    expected: {
      labels: { ...warning, volume: 'disk0', node: 'store2' },
      summary:
        'The copy of volume disk0 on node store2 has blocks that do not match their checksums.',
    },
  },
  {
    alert: 'DroverDamageFound',
    when: 'the scrub finds blocks that do not match',
    series: [counter(`drover_engine_scrub_errors_total{${store2},node="store2"}`, 0, 1)],
    firesAfterMin: 2,
    expected: {
      labels: { ...warning, ...onStore, node: 'store2' },
      summary: 'Node store2 found damage in what it stores.',
    },
  },
  {
    alert: 'DroverDamageFound',
    when: 'a segment cannot be read',
    series: [gauge(`drover_engine_damaged_segments{${store2},node="store2"}`, 0, 1)],
    firesAfterMin: 2,
    expected: {
      labels: { ...warning, ...onStore, node: 'store2' },
      summary: 'Node store2 found damage in what it stores.',
    },
  },
  {
    alert: 'DroverGatewayDown',
    when: 'a gateway does not answer Prometheus',
    series: [gauge(`up{${gateway1}}`, 1, 0), gauge(`up{${gateway2}}`, 1, 1)],
    notBeforeSeconds: 20,
    firesAfterMin: 1,
    expected: {
      labels: { ...critical, ...onGateway },
      summary: 'Gateway gateway1:9809 does not answer.',
    },
  },
  {
    alert: 'DroverFlushFailures',
    when: 'clients get errors for FLUSH',
    series: [counter(`drover_nbd_errors_total{${gateway1},command="flush",error="EIO"}`, 0, 1)],
    firesAfterMin: 2,
    expected: {
      labels: { ...critical, instance: 'gateway1:9809' },
      summary: 'Clients of gateway gateway1:9809 were told that a FLUSH failed.',
    },
  },
  {
    alert: 'DroverWriteBackFailures',
    when: 'writes to the store fail',
    series: [counter(`drover_cache_write_failures_total{${gateway1}}`, 0, 1)],
    notBeforeSeconds: 50,
    firesAfterMin: 3,
    expected: {
      labels: { ...warning, ...onGateway },
      summary: 'Gateway gateway1:9809 fails to write to the store and tries again.',
    },
  },
  {
    alert: 'DroverSlowFlush',
    when: 'one flush in ten takes between one and two seconds',
    series: flushes({ '0.5': 9, '1': 9, '2': 10, '+Inf': 10 }),
    notBeforeSeconds: 280,
    firesAfterMin: 15,
    expected: {
      labels: { ...warning, instance: 'gateway1:9809' },
      summary: 'One flush in a hundred takes gateway gateway1:9809 1.9s or more.',
    },
  },
  {
    alert: 'DroverLeaseLost',
    when: 'a gateway loses a lease',
    series: [counter(`drover_lease_losses_total{${gateway1}}`, 0, 1)],
    firesAfterMin: 2,
    expected: {
      labels: { ...critical, ...onGateway },
      summary: 'Gateway gateway1:9809 lost the lease of a volume that it served.',
    },
  },
  {
    alert: 'DroverFencedRequests',
    when: 'clients ask a gateway whose lease is over',
    series: [counter(`drover_fenced_requests_total{${gateway1}}`, 0, 1)],
    firesAfterMin: 2,
    expected: {
      labels: { ...warning, instance: 'gateway1:9809' },
      summary:
        "Gateway gateway1:9809 had requests refused, because its lease was over or another one's is newer.",
    },
  },
  {
    alert: 'DroverFencedRequests',
    when: 'nodes refuse what a deposed gateway sends',
    series: [counter(`drover_refused_epochs_total{${gateway1},volume="disk0"}`, 0, 1)],
    firesAfterMin: 2,
    expected: {
      labels: { ...warning, instance: 'gateway1:9809' },
      summary:
        "Gateway gateway1:9809 had requests refused, because its lease was over or another one's is newer.",
    },
  },
  {
    alert: 'DroverEtcdDown',
    when: 'etcd does not answer',
    series: [gauge('up{job="etcd",instance="etcd:2379"}', 1, 0)],
    notBeforeSeconds: 20,
    firesAfterMin: 1,
    expected: {
      labels: { ...critical, job: 'etcd', instance: 'etcd:2379' },
      summary: 'etcd at etcd:2379 does not answer or has no leader.',
    },
  },
  {
    alert: 'DroverEtcdDown',
    when: 'etcd has no leader',
    series: [gauge('etcd_server_has_leader{job="etcd",instance="etcd:2379"}', 1, 0)],
    notBeforeSeconds: 20,
    firesAfterMin: 1,
    expected: {
      labels: { ...critical, job: 'etcd', instance: 'etcd:2379' },
      summary: 'etcd at etcd:2379 does not answer or has no leader.',
    },
  },
  {
    alert: 'DroverControlPlaneUnreachable',
    when: 'a gateway cannot renew its session',
    series: control(gateway1, { failedRenewals: 1 }),
    firesAfterMin: 2,
    expected: {
      labels: { ...critical, ...onGateway },
      summary: 'gateway1:9809 does not reach the control plane: its leases run out.',
    },
  },
  {
    alert: 'DroverControlPlaneUnreachable',
    when: 'a store node gets no answers',
    series: control(store2, { unavailable: 1 }),
    firesAfterMin: 2,
    expected: {
      labels: { ...critical, ...onStore },
      summary: 'store2:9809 does not reach the control plane: its leases run out.',
    },
  },
];

export const QUIET: readonly QuietCase[] = [
  {
    alert: 'DroverControlPlaneUnreachable',
    when: 'another process was quicker',
    series: control(gateway1, { conflict: 1 }),
  },
  {
    alert: 'DroverBelowMinimum',
    when: 'as many copies as writing needs are left',
    series: volume(3, 2),
  },
  { alert: 'DroverResyncStalled', when: 'objects are copied', series: behind(1, 4096) },
  { alert: 'DroverResyncStalled', when: 'the node is away', series: behind(0, 0) },
  { alert: 'DroverNodeSpaceLow', when: 'half of the space is left', series: space(500) },
  {
    alert: 'DroverFencedRequests',
    when: 'a gateway takes a volume over from the node that tended it',
    series: [counter(`drover_refused_epochs_total{${store2},volume="disk0"}`, 0, 1)],
  },
  { alert: 'DroverNodeDown', when: 'a gateway is down', series: [gauge(`up{${gateway1}}`, 1, 0)] },
  { alert: 'DroverGatewayDown', when: 'a node is down', series: [gauge(`up{${store2}}`, 1, 0)] },
  {
    alert: 'DroverFlushFailures',
    when: 'a READ fails',
    series: [counter(`drover_nbd_errors_total{${gateway1},command="read",error="EIO"}`, 0, 1)],
  },
  {
    alert: 'DroverSlowFlush',
    when: 'one flush in a thousand is slow',
    series: flushes({ '0.5': 9.99, '1': 9.99, '2': 10, '+Inf': 10 }),
  },
];
