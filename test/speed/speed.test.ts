/**
 * A guard against becoming slow: a few rows of the benchmark, short, beside their peers at the same
 * moment. The margin is wide, half of the ratio that a full run reached (`bench/reached.json`), and a
 * row that falls below is measured once more before it counts. It runs alone: `npm run test:speed`.
 */
import test from 'ava';
import { Comparison } from '../../bench/comparison.ts';
import { readReached } from '../../bench/reached.ts';
import { goalRatio, type RowReport } from '../../bench/report.ts';
import { ROWS, type Row } from '../../bench/rows.ts';
import type { ServerName } from '../../bench/servers.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const TEST_LIMIT_MS = 600_000;
/** Of the reached ratio. */
const MARGIN = 0.5;
const SIZES = { resident: '256M', cold: '512M', coldCache: '64M' };

type Drover = 'drover-embedded' | 'drover-cluster';

const GUARDED: readonly { readonly row: string; readonly server: Drover }[] = [
  { row: 'hit-read-4k-qd32', server: 'drover-embedded' },
  { row: 'hit-read-4k-qd32', server: 'drover-cluster' },
  { row: 'hit-write-4k-qd32', server: 'drover-embedded' },
  { row: 'hit-read-128k', server: 'drover-embedded' },
  { row: 'fsync1-4k-qd1', server: 'drover-embedded' },
  { row: 'fsync1-4k-qd32', server: 'drover-embedded' },
  { row: 'cold-read-4k-qd32', server: 'drover-embedded' },
];

interface Guard {
  readonly row: Row;
  readonly server: Drover;
  /** The lowest ratio to the peer that is let through. */
  readonly wanted: number;
}

function guardOf({ row: name, server }: (typeof GUARDED)[number]): Guard {
  const row = ROWS.find((one) => one.name === name);
  const reached = readReached().rows[name];
  const ratio = server === 'drover-embedded' ? reached?.embedded : reached?.cluster;
  if (row?.goal === undefined || ratio === undefined) {
    throw new Error(`bench/reached.json has no ratio of ${name} for ${server}`);
  }
  return { row, server, wanted: ratio * MARGIN };
}

const guards = GUARDED.map(guardOf);

/** A B A B, only the servers that a row is about. */
async function measured(
  directory: string,
  wanted: readonly Guard[],
  note: (text: string) => void,
): Promise<RowReport[]> {
  const takesPart = (row: Row, server: ServerName) =>
    wanted.some((guard) => {
      return guard.row === row && (guard.server === server || row.goal?.peer === server);
    });
  const comparison = new Comparison({
    ...{ directory, rounds: 2, seconds: 1, warmSeconds: 2, sizes: SIZES, pageCache: 'warm' },
    ...{ note, takesPart },
    servers: ['nbdkit-memory', 'qemu-nbd', 'drover-embedded', 'drover-cluster'],
  });
  return comparison.rows([...new Set(wanted.map(({ row }) => row))]);
}

/** Those that fall below, with what they reached. */
function tooSlow(wanted: readonly Guard[], reports: readonly RowReport[]) {
  return wanted.flatMap((guard) => {
    const report = reports.find(({ row }) => row === guard.row)!;
    const { reached } = goalRatio(report, guard.server)!;
    return reached >= guard.wanted ? [] : [{ guard, reached }];
  });
}

test('no guarded row is slower than half of what it reached beside its peer', async (t) => {
  t.timeout(TEST_LIMIT_MS);
  const note = (text: string) => t.log(text);
  const first = tooSlow(guards, await measured(await temporaryFolder(t), guards, note));
  if (first.length > 0) {
    const again = first.map(({ guard }) => guard);
    const second = tooSlow(again, await measured(await temporaryFolder(t), again, note));
    const failures = second.map(({ guard: { row, server, wanted }, reached }) => {
      return `${row.name} ${server}: ${reached.toFixed(2)} × ${row.goal?.peer}, at least ${wanted.toFixed(2)} ×`;
    });
    t.deepEqual(failures, []);
  }
  t.pass();
});
