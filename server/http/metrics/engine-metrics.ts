/**
 * What the store nodes of this process count, and what they hold at the time, as metric families.
 * Each sample carries the node's name. Nodes come and go, so they are asked for each time.
 */
import type { EngineStateName } from '../../../store/engine/engine-states.ts';
import type { EngineGauges, EngineStats } from '../../../store/engine/engine-stats.ts';
import type { Histogram } from '../../../store/runtime/histogram.ts';
import { counter, gauge, histogram, type MetricFamily, type Sample } from './metric-family.ts';

/** The part of an engine that is looked at. */
export interface EngineView {
  readonly nodeId: string;
  readonly stats: EngineStats;
  gauges(): EngineGauges;
  readonly state: EngineStateName;
}

class EngineFamilies {
  readonly families: MetricFamily[] = [];
  readonly #engines: () => readonly EngineView[];

  constructor(engines: () => readonly EngineView[]) {
    this.#engines = engines;
  }

  #each(look: (engine: EngineView) => number): () => Sample[] {
    return () =>
      this.#engines().map((engine) => ({ labels: { node: engine.nodeId }, value: look(engine) }));
  }

  counter(name: string, help: string, look: (stats: EngineStats) => number): void {
    const samples = this.#each((engine) => look(engine.stats));
    this.families.push(counter(`drover_engine_${name}`, help, samples));
  }

  gauge(name: string, help: string, look: (gauges: EngineGauges) => number): void {
    const samples = this.#each((engine) => look(engine.gauges()));
    this.families.push(gauge(`drover_engine_${name}`, help, samples));
  }

  histogram(name: string, help: string, look: (stats: EngineStats) => Histogram): void {
    const each = () =>
      this.#engines().map(({ nodeId, stats }) => ({
        labels: { node: nodeId },
        histogram: look(stats),
      }));
    this.families.push(histogram(`drover_engine_${name}`, help, each));
  }

  /** One family with several samples a node, told apart by `label`. */
  byLabel(
    make: typeof counter,
    name: string,
    help: string,
    label: string,
    look: (engine: EngineView) => Readonly<Record<string, number>>,
  ): void {
    const samples = () =>
      this.#engines().flatMap((engine) =>
        Object.entries(look(engine)).map(([key, value]) => ({
          labels: { node: engine.nodeId, [label]: key },
          value,
        })),
      );
    this.families.push(make(`drover_engine_${name}`, help, samples));
  }

  up(): void {
    const samples = this.#each((engine) => (engine.state === 'open' ? 1 : 0));
    this.families.push(gauge('drover_engine_up', '1 while the node takes writes.', samples));
  }
}

function addWrites(add: EngineFamilies): void {
  add.counter('appends_total', 'Records that became durable.', (s) => s.appends);
  add.counter('syncs_total', 'Synced writes of the log; each holds a batch.', (s) => s.batches);
  add.counter('appended_bytes_total', 'Written to the log, headers too.', (s) => s.appendedBytes);
  add.counter('payload_bytes_total', 'Of these, payload.', (s) => s.payloadBytes);
  add.histogram('sync_duration_seconds', 'Duration of a synced write.', (s) => s.syncSeconds);
  add.histogram(
    'group_commit_records',
    'Records that shared a synced write.',
    (s) => s.batchRecords,
  );
  add.counter('write_errors_total', 'Writes that the disk refused.', (s) => s.writeErrors);
  add.byLabel(counter, 'refused_writes_total', 'Writes refused.', 'reason', ({ stats }) => ({
    conflict: stats.refusedConflict,
    fenced: stats.refusedFenced,
    out_of_space: stats.refusedOutOfSpace,
  }));
  add.gauge('queued_records', 'Writes waiting for their batch.', (g) => g.queuedRecords);
}

function addReads(add: EngineFamilies): void {
  add.counter('reads_total', 'Reads.', (s) => s.reads);
  add.counter('read_bytes_total', 'Length of the reads.', (s) => s.readBytes);
}

function addSpace(add: EngineFamilies): void {
  add.byLabel(gauge, 'segments', 'Segments.', 'state', (engine) => {
    const { segmentsUsed, segmentsSpare } = engine.gauges();
    return { used: segmentsUsed, spare: segmentsSpare };
  });
  add.gauge('live_bytes', 'Stored data.', (g) => g.liveBytes);
  add.gauge('dead_bytes', 'What cleaning can give back.', (g) => g.deadBytes);
  add.gauge('capacity_bytes', 'What the node may use.', (g) => g.capacityBytes);
  add.gauge('free_bytes', 'What writers can still use.', (g) => g.freeBytes);
  add.gauge('objects', 'Stored objects.', (g) => g.objectCount);
  add.counter('cleaning_bytes_total', 'Live data moved by cleaning.', (s) => s.cleaningBytes);
  add.counter('segments_freed_total', 'Segments given back.', (s) => s.segmentsFreed);
}

function addIndex(add: EngineFamilies): void {
  add.counter('checkpoints_total', 'Checkpoints of the index.', (s) => s.checkpoints);
  add.counter('checkpoint_failures_total', 'Failed ones.', (s) => s.checkpointFailures);
  add.histogram('checkpoint_duration_seconds', 'Their duration.', (s) => s.checkpointSeconds);
  add.gauge('checkpoint_age_seconds', 'Time since the last one.', (g) => g.checkpointAgeSeconds);
  add.gauge('replay_bytes', 'Log that a restart would replay.', (g) => g.logBytesSinceCheckpoint);
  add.gauge('index_pinned_bytes', 'Index changed since then.', (g) => g.indexPinnedBytes);
  add.gauge('index_cached_bytes', 'Index held for reads.', (g) => g.indexCachedBytes);
  add.byLabel(counter, 'index_lookups_total', 'Looks at the index.', 'outcome', (engine) => {
    const { indexHits, indexMisses } = engine.gauges();
    return { hit: indexHits, miss: indexMisses };
  });
  add.counter('replayed_records_total', 'Records replayed at start.', (s) => s.replayedRecords);
  add.counter('replayed_bytes_total', 'Log read at start.', (s) => s.replayedBytes);
}

function addHealth(add: EngineFamilies): void {
  add.up();
  add.counter('scrub_bytes_total', 'Data compared with its checksums.', (s) => s.scrubBytes);
  add.counter('scrub_errors_total', 'Blocks that did not match.', (s) => s.scrubErrors);
  add.counter('scrub_passes_total', 'Whole passes over the data.', (s) => s.scrubPasses);
  add.gauge('damaged_segments', 'Segments that cannot be read.', (g) => g.damagedSegments);
}

export function engineMetrics(engines: () => readonly EngineView[]): MetricFamily[] {
  const add = new EngineFamilies(engines);
  for (const part of [addWrites, addReads, addSpace, addIndex, addHealth]) part(add);
  return add.families;
}
