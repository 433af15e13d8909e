import test from 'ava';
import type { Measurement } from '../../bench/measure.ts';
import { reachedRatios, readReached } from '../../bench/reached.ts';
import type { BenchReport, RowReport } from '../../bench/report.ts';
import { ROWS } from '../../bench/rows.ts';

function measurement(requestsPerSecond: number): Measurement {
  const latency = { meanUs: 1, p99Us: 1, p999Us: 1 };
  const amount = { requestsPerSecond, bytesPerSecond: 0, requests: 1, seconds: 1 };
  return { ...latency, ...amount, commandLine: '', cpuSecondsPerMillion: 0, residentBytes: 0 };
}

function report(rows: readonly RowReport[]): BenchReport {
  const rawDisk = { syncedWritesPerSecond: 0, commandLine: '' };
  const machine = { processor: '', cores: 1, memoryBytes: 0, kernel: '', versions: {}, rawDisk };
  const method = { rounds: 3, seconds: 5, warmSeconds: 5, pageCache: 'warm' } as const;
  return { machine, method, commandLines: {}, rows, specials: [] };
}

test('a reached ratio is the median of Drover over the median of the peer of that row', (t) => {
  const row = ROWS.find(({ name }) => name === 'hit-read-4k-qd32')!;
  const rounds = {
    'nbdkit-memory': [100, 300, 200].map(measurement),
    'drover-embedded': [900, 250, 10].map(measurement),
  };
  const { rows } = reachedRatios(report([{ row, rounds }]));
  t.is(rows[row.name]?.embedded, 1.25);
  t.is(rows[row.name]?.peer, 'nbdkit-memory');
});

test('rows that a run left out keep what was reached before', (t) => {
  t.deepEqual(reachedRatios(report([])), readReached());
});
