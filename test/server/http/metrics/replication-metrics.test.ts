import test from 'ava';
import { Registry } from 'prom-client';
import { registerFamilies } from '../../../../server/http/metrics/metric-family.ts';
import {
  type AttachmentsView,
  replicationMetrics,
} from '../../../../server/http/metrics/replication-metrics.ts';
import { newReplicaSet } from '../../../../store/control/replica-set-record.ts';
import { ReplicationStats } from '../../../../store/replication/replication-stats.ts';
import type { ReplicationStatus } from '../../../../store/replication/replication-status.ts';

const STATUS: ReplicationStatus = {
  ...{ volumeName: 'disk0', epoch: 4, copies: 3, minInSync: 2, inSync: 1 },
  ...{ areWritesServed: false, objectsBehind: 0, objectsDiffering: 0, replicas: [] },
};

const NODES = ['store1', 'store2', 'store3'].map((nodeId) => ({ nodeId }));

async function metricsOf(view: Partial<AttachmentsView>): Promise<string> {
  const registry = new Registry();
  const stats = { leaseLosses: 0, fencedRequests: 0, discardedBytes: 0 };
  const nothing = { attached: () => [], records: () => [], stats };
  registerFamilies(registry, replicationMetrics({ ...nothing, ...view }));
  return registry.metrics();
}

test('a volume that is not attached here has the copies of its record', async (t) => {
  const replicas = { ...newReplicaSet(NODES), inSync: ['store1', 'store3'] };
  const text = await metricsOf({ records: () => [{ name: 'disk0', replicas }] });
  t.regex(text, /^drover_volume_copies\{volume="disk0"\} 3$/m);
  t.regex(text, /^drover_volume_min_in_sync_copies\{volume="disk0"\} 2$/m);
  t.regex(text, /^drover_volume_in_sync_copies\{volume="disk0"\} 2$/m);
  t.notRegex(text, /^drover_volume_writes_served\{/m);
});

test('a volume that is attached here has the copies that its replication knows', async (t) => {
  const text = await metricsOf({
    records: () => [{ name: 'disk0', replicas: newReplicaSet(NODES) }],
    attached: () => [
      { name: 'disk0', replication: { status: () => STATUS, stats: new ReplicationStats() } },
    ],
  });
  t.regex(text, /^drover_volume_in_sync_copies\{volume="disk0"\} 1$/m);
  t.regex(text, /^drover_volume_writes_served\{volume="disk0"\} 0$/m);
});

test('a volume whose record tells of no copies has one', async (t) => {
  const text = await metricsOf({ records: () => [{ name: 'old', replicas: undefined }] });
  t.regex(text, /^drover_volume_copies\{volume="old"\} 1$/m);
  t.regex(text, /^drover_volume_in_sync_copies\{volume="old"\} 1$/m);
});

test('what was counted goes on counting when a volume is attached again', async (t) => {
  const registry = new Registry();
  let attached: ReturnType<AttachmentsView['attached']> = [];
  const attach = (status: ReplicationStatus) => {
    const stats = new ReplicationStats();
    attached = [{ name: 'disk0', replication: { status: () => status, stats } }];
    return stats;
  };
  const failures = async () =>
    (await registry.metrics()).match(/^drover_crc_failures_total\{volume="disk0"\} (\d+)$/m)?.[1];
  const view: AttachmentsView = {
    records: () => [{ name: 'disk0', replicas: newReplicaSet(NODES) }],
    attached: () => attached,
    stats: { leaseLosses: 0, fencedRequests: 0, discardedBytes: 0 },
  };
  registerFamilies(registry, replicationMetrics(view));
  t.is(await failures(), '0', 'before the first attachment');
  attach(STATUS).crcFailures = 3;
  t.is(await failures(), '3');
  attached = [];
  t.is(await failures(), '3', 'while nobody uses it');
  attach(STATUS).crcFailures = 2;
  t.is(await failures(), '5');
});
