/**
 * The copies of the volumes, as metric families.
 *
 * How many copies a volume has is told of every volume, attached here or not, as the control plane
 * records it: a copy that is missing matters most while nobody has noticed. What the record does
 * not hold is told by the process that has the volume attached, for its clients or as the steward
 * that brings its copies back. What is counted goes on counting when a volume is detached and
 * attached again: the counts of an attachment are added to those of earlier ones of the same volume.
 */
import { newReplicaSet } from '../../../store/control/replica-set-record.ts';
import type { VolumeRecord } from '../../../store/control/volume-record.ts';
import type { ReplicationStats } from '../../../store/replication/replication-stats.ts';
import type {
  ReplicaStatus,
  ReplicationStatus,
} from '../../../store/replication/replication-status.ts';
import { counter, gauge, type MetricFamily, type Sample } from './metric-family.ts';

export interface AttachedView {
  readonly name: string;
  readonly replication: { status(): ReplicationStatus; readonly stats: ReplicationStats };
}

export interface AttachmentsView {
  /** The volumes whose lease this process has; one that changes hands may be there twice. */
  attached(): readonly AttachedView[];
  /** Of every volume that this process knows of. */
  records(): readonly Pick<VolumeRecord, 'name' | 'replicas'>[];
}

/** What became of leases that were held for clients. */
export interface LeaseStats {
  readonly leaseLosses: number;
  readonly fencedRequests: number;
  readonly discardedBytes: number;
}

type Look = (status: ReplicationStatus) => number;
type LookAtReplica = (replica: ReplicaStatus) => number;

/** Of a volume that is there twice the first: two samples with the same labels are none. */
function eachOnce(attached: readonly AttachedView[]): AttachedView[] {
  const names = new Set<string>();
  return attached.filter(({ name }) => !names.has(name) && names.add(name));
}

type CopyCounts = Pick<ReplicationStatus, 'copies' | 'minInSync' | 'inSync'>;

/** A volume whose record tells of no copies is on the only node there is. */
function recordedCounts(replicas: VolumeRecord['replicas']): CopyCounts {
  const { copies, minInSync, inSync } = replicas ?? newReplicaSet([{ nodeId: '' }]);
  return { copies, minInSync, inSync: inSync.length };
}

function copyMetrics(view: AttachmentsView): MetricFamily[] {
  const volumes = (look: (counts: CopyCounts) => number) => (): Sample[] => {
    const attached = new Map(eachOnce(view.attached()).map((one) => [one.name, one.replication]));
    return view.records().map(({ name, replicas }) => ({
      labels: { volume: name },
      value: look(attached.get(name)?.status() ?? recordedCounts(replicas)),
    }));
  };
  return [
    gauge(
      'drover_volume_copies',
      'Copies that a volume is to have.',
      volumes((c) => c.copies),
    ),
    gauge(
      'drover_volume_min_in_sync_copies',
      'Copies without which its writes wait.',
      volumes((c) => c.minInSync),
    ),
    gauge(
      'drover_volume_in_sync_copies',
      'Copies that hold every acknowledged write.',
      volumes((c) => c.inSync),
    ),
  ];
}

/** Sums of what each attachment counted, ended ones included, for each set of labels. */
class Totals {
  readonly #ended = new Map<string, Sample>();
  readonly #live = new Map<object, readonly Sample[]>();
  readonly #look: (one: AttachedView) => readonly Sample[];

  constructor(look: (one: AttachedView) => readonly Sample[]) {
    this.#look = look;
  }

  /** `zeroes`: what is there although nothing was counted yet. */
  of(attached: readonly AttachedView[], zeroes: readonly Sample[] = []): Sample[] {
    const present = new Set<object>(attached.map((one) => one.replication));
    for (const [replication, samples] of this.#live) {
      if (present.has(replication)) continue;
      for (const sample of samples) addTo(this.#ended, sample);
      this.#live.delete(replication);
    }
    const totals = new Map(this.#ended);
    for (const sample of zeroes) addTo(totals, sample);
    for (const one of attached) {
      const samples = this.#look(one);
      this.#live.set(one.replication, samples);
      for (const sample of samples) addTo(totals, sample);
    }
    return [...totals.values()];
  }
}

function addTo(totals: Map<string, Sample>, { labels, value }: Sample): void {
  const key = JSON.stringify(labels);
  totals.set(key, { labels, value: value + (totals.get(key)?.value ?? 0) });
}

function replicaSamples({ name, replication }: AttachedView, look: LookAtReplica): Sample[] {
  return replication.status().replicas.map((replica) => ({
    labels: { volume: name, node: replica.nodeId },
    value: look(replica),
  }));
}

export function replicationMetrics(view: AttachmentsView): MetricFamily[] {
  const volumes = (look: Look) => (): Sample[] =>
    eachOnce(view.attached()).map(({ name, replication }) => ({
      labels: { volume: name },
      value: look(replication.status()),
    }));
  const replicas = (look: LookAtReplica) => (): Sample[] =>
    eachOnce(view.attached()).flatMap((one) => replicaSamples(one, look));
  const totals = (look: LookAtReplica) => {
    const sums = new Totals((one) => replicaSamples(one, look));
    const zeroes = () =>
      view
        .records()
        .flatMap(({ name, replicas: set }) =>
          (set?.nodes ?? []).map((node) => ({ labels: { volume: name, node }, value: 0 })),
        );
    return () => sums.of(view.attached(), zeroes());
  };
  return [
    ...copyMetrics(view),
    gauge(
      'drover_volume_writes_served',
      '1 while writes are answered, 0 while they wait for copies.',
      volumes((s) => (s.areWritesServed ? 1 : 0)),
    ),
    gauge(
      'drover_volume_objects_behind',
      'Objects that a returning copy still lacks.',
      replicas((r) => r.objectsBehind),
    ),
    gauge(
      'drover_volume_objects_unreadable',
      'Objects behind with a block that no copy can be read of.',
      replicas((r) => r.objectsUnreadable),
    ),
    counter(
      'drover_resync_bytes_total',
      'Payload that returning copies were sent.',
      totals((r) => r.resyncBytes),
    ),
    counter(
      'drover_replica_takeouts_total',
      'Copies taken out of the in-sync set.',
      totals((r) => r.takeOuts),
    ),
    counter(
      'drover_crc_failures_total',
      'Blocks read that did not match their checksum.',
      totals((r) => r.crcFailures),
    ),
    counter(
      'drover_block_repairs_total',
      'Runs of such blocks that were repaired from another copy.',
      totals((r) => r.repairs),
    ),
    ...countMetrics(view),
  ];
}

function countMetrics(view: AttachmentsView): MetricFamily[] {
  const count = (look: (stats: ReplicationStats) => number) => {
    const sums = new Totals(({ name, replication }) => [
      { labels: { volume: name }, value: look(replication.stats) },
    ]);
    const zeroes = () => view.records().map(({ name }) => ({ labels: { volume: name }, value: 0 }));
    return () => sums.of(view.attached(), zeroes());
  };
  return [
    counter(
      'drover_refused_epochs_total',
      'Requests that a node refused because of a newer lease.',
      count((s) => s.refusedEpochs),
    ),
    counter(
      'drover_reconciled_objects_total',
      'Objects whose copies differed and were made equal.',
      count((s) => s.reconciledObjects),
    ),
    counter(
      'drover_hedged_reads_total',
      'Reads that were asked of a second copy because the first was slow.',
      count((s) => s.hedgedReads),
    ),
  ];
}

export function leaseMetrics(stats: LeaseStats): MetricFamily[] {
  return [
    counter('drover_lease_losses_total', 'Volumes lost to others.', () => stats.leaseLosses),
    counter(
      'drover_fenced_requests_total',
      'Requests refused because the lease was over.',
      () => stats.fencedRequests,
    ),
    counter(
      'drover_discarded_bytes_total',
      'Written, never flushed, and given up with a lease.',
      () => stats.discardedBytes,
    ),
  ];
}
