import test from 'ava';
import { Registry } from 'prom-client';
import { registerFamilies } from '../../../../server/http/metrics/metric-family.ts';
import {
  type AttachmentsView,
  replicationMetrics,
} from '../../../../server/http/metrics/replication-metrics.ts';
import { newReplicaSet } from '../../../../store/control/replica-set-record.ts';
import { ReplicationStats } from '../../../../store/replication/replication-stats.ts';
import type {
  ReplicaStatus,
  ReplicationStatus,
} from '../../../../store/replication/replication-status.ts';

const STATUS: ReplicationStatus = {
  ...{ volumeName: 'disk0', epoch: 4, copies: 3, minInSync: 2, inSync: 1 },
  ...{ areWritesServed: false, objectsBehind: 0, objectsDiffering: 0, replicas: [] },
};

const NODES = ['store1', 'store2', 'store3'].map((nodeId) => ({ nodeId }));

async function metricsOf(view: Partial<AttachmentsView>): Promise<string> {
  const registry = new Registry();
  const nothing = { attached: () => [], records: () => [] };
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
  const attach = () => {
    const stats = new ReplicationStats();
    attached = [{ name: 'disk0', replication: { status: () => STATUS, stats } }];
    return stats;
  };
  const refused = async () =>
    (await registry.metrics()).match(/^drover_refused_epochs_total\{volume="disk0"\} (\d+)$/m)?.[1];
  const view: AttachmentsView = {
    records: () => [{ name: 'disk0', replicas: newReplicaSet(NODES) }],
    attached: () => attached,
  };
  registerFamilies(registry, replicationMetrics(view));
  t.is(await refused(), '0', 'before the first attachment');
  attach().refusedEpochs = 3;
  t.is(await refused(), '3');
  attached = [];
  t.is(await refused(), '3', 'while nobody uses it');
  attach().refusedEpochs = 2;
  t.is(await refused(), '5');
});

function replica(nodeId: string, counts: Partial<ReplicaStatus>): ReplicaStatus {
  return {
    ...{ nodeId, state: 'inSync', reason: '', objectsBehind: 0, bytesLeft: 0, bytesPerSecond: 0 },
    ...{ secondsLeft: undefined, resyncBytes: 0, takeOuts: 0, crcFailures: 0, repairs: 0 },
    ...{ objectsUnreadable: 0, readLatencyMs: 1 },
    ...counts,
  };
}

test('bad blocks are counted by the node that had them', async (t) => {
  const replicas = [replica('store1', {}), replica('store2', { crcFailures: 3, repairs: 2 })];
  const text = await metricsOf({
    records: () => [{ name: 'disk0', replicas: newReplicaSet(NODES) }],
    attached: () => [
      {
        name: 'disk0',
        replication: { status: () => ({ ...STATUS, replicas }), stats: new ReplicationStats() },
      },
    ],
  });
  t.regex(text, /^drover_crc_failures_total\{volume="disk0",node="store1"\} 0$/m);
  t.regex(text, /^drover_crc_failures_total\{volume="disk0",node="store2"\} 3$/m);
  t.regex(text, /^drover_crc_failures_total\{volume="disk0",node="store3"\} 0$/m);
  t.regex(text, /^drover_block_repairs_total\{volume="disk0",node="store2"\} 2$/m);
});

test('a volume that goes from the steward to a client has one sample of each gauge', async (t) => {
  const one = (objectsBehind: number) => ({
    name: 'disk0',
    replication: {
      status: () => ({ ...STATUS, replicas: [replica('store1', { objectsBehind, takeOuts: 1 })] }),
      stats: new ReplicationStats(),
    },
  });
  const text = await metricsOf({ attached: () => [one(5), one(9)] });
  t.deepEqual(text.match(/^drover_volume_objects_behind\{.*$/gm), [
    'drover_volume_objects_behind{volume="disk0",node="store1"} 5',
  ]);
  t.is(text.match(/^drover_volume_writes_served\{/gm)?.length, 1);
  t.regex(text, /^drover_replica_takeouts_total\{volume="disk0",node="store1"\} 2$/m);
});
