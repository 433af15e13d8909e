/**
 * The rows of the benchmark: what is asked of every server alike.
 *
 * Owns: names, fio options and how the goal of issue and docs is compared. A row that needs more
 * than one fio job has a file of its own.
 */

import type { FioOptions } from './fio.ts';
import type { ServerName } from './servers.ts';

export type RowState =
  /** The row's data was written just before and is in the server's memory. */
  | 'resident'
  /** The row's data is larger than Drover's cache, and the server was started anew after writing. */
  | 'cold';

/** How much data the rows work on. */
export interface RowSizes {
  readonly resident: string;
  readonly cold: string;
  /** Drover's cache in the cold rows; in all others it has its default size. */
  readonly coldCache: string;
}

/** The cold data is eight times the cache. */
export const ROW_SIZES: RowSizes = { resident: '1G', cold: '2G', coldCache: '256M' };

export interface Row {
  readonly name: string;
  readonly title: string;
  readonly state: RowState;
  readonly unit: 'requests' | 'bytes';
  /** Bounded by time, or by the bytes of the job itself. */
  readonly bound: 'time' | 'size';
  /** Without a `size` of its own, the row works on all data of its state. */
  readonly fio: FioOptions;
  /** The same job runs for so long right before each run, and what it left belongs to the run. */
  readonly leadSeconds?: number;
  /** What the row is compared with, and the ratio to reach, embedded and as a cluster. */
  readonly goal?: { readonly peer: PeerName; readonly embedded: number; readonly cluster: number };
}

export type PeerName = 'nbdkit-memory' | 'nbdkit-file' | 'qemu-nbd';

const MEMORY = 'nbdkit-memory';
const FILE = 'qemu-nbd';

function hit(
  name: string,
  title: string,
  rw: string,
  bs: string,
  depth: number,
  jobs: number,
  ratio: number,
): Row {
  return {
    name,
    title,
    state: 'resident',
    unit: bs === '4k' ? 'requests' : 'bytes',
    bound: 'time',
    fio: { rw, bs, iodepth: depth, numjobs: jobs },
    goal: { peer: MEMORY, embedded: ratio, cluster: ratio },
  };
}

function durable(
  name: string,
  title: string,
  fio: FioOptions,
  bound: 'time' | 'size',
  unit: 'requests' | 'bytes',
  goal?: readonly [number, number],
): Row {
  return {
    name,
    title,
    state: 'resident',
    unit,
    bound,
    fio,
    ...(goal === undefined ? {} : { goal: { peer: FILE, embedded: goal[0], cluster: goal[1] } }),
  };
}

function miss(
  name: string,
  title: string,
  fio: FioOptions,
  unit: 'requests' | 'bytes',
  goal?: readonly [number, number],
): Row {
  return {
    name,
    title,
    state: 'cold',
    unit,
    bound: 'time',
    fio,
    ...(goal === undefined ? {} : { goal: { peer: FILE, embedded: goal[0], cluster: goal[1] } }),
  };
}

export const ROWS: readonly Row[] = [
  hit('hit-read-4k-qd1', '4k random read, hit, QD 1', 'randread', '4k', 1, 1, 1.3),
  hit('hit-write-4k-qd1', '4k random write, hit, QD 1', 'randwrite', '4k', 1, 1, 1),
  hit('hit-read-4k-qd32', '4k random read, hit, QD 32', 'randread', '4k', 32, 1, 1.3),
  hit('hit-write-4k-qd32', '4k random write, hit, QD 32', 'randwrite', '4k', 32, 1, 1),
  hit(
    'hit-read-4k-qd32-c4',
    '4k random read, hit, QD 32 on 4 connections',
    'randread',
    '4k',
    8,
    4,
    1.3,
  ),
  hit(
    'hit-write-4k-qd32-c4',
    '4k random write, hit, QD 32 on 4 connections',
    'randwrite',
    '4k',
    8,
    4,
    1,
  ),
  hit('hit-read-128k', '128k sequential read, hit, QD 8', 'read', '128k', 8, 1, 1.3),
  hit('hit-write-128k', '128k sequential write, hit, QD 8', 'write', '128k', 8, 1, 1),
  durable(
    'fsync1-4k-qd1',
    '4k random write, fsync=1, QD 1',
    { rw: 'randwrite', bs: '4k', iodepth: 1, fsync: 1 },
    'time',
    'requests',
    [0.85, 0.45],
  ),
  durable(
    'fsync1-4k-qd32',
    '4k random write, fsync=1, QD 32',
    { rw: 'randwrite', bs: '4k', iodepth: 32, fsync: 1 },
    'time',
    'requests',
    [2, 1.3],
  ),
  durable(
    'fsync1-4k-qd32-c4',
    '4k random write, fsync=1, QD 32 on 4 connections',
    { rw: 'randwrite', bs: '4k', iodepth: 8, numjobs: 4, fsync: 1 },
    'time',
    'requests',
  ),
  durable(
    'fsync32-4k-qd32',
    '4k random write, fsync=32, QD 32',
    { rw: 'randwrite', bs: '4k', iodepth: 32, fsync: 32 },
    'time',
    'requests',
  ),
  durable(
    'fsync32-4k-qd32-c4',
    '4k random write, fsync=32, QD 32 on 4 connections',
    { rw: 'randwrite', bs: '4k', iodepth: 8, numjobs: 4, fsync: 32 },
    'time',
    'requests',
  ),
  durable(
    'write-128k-end-fsync',
    '128k sequential write with end_fsync, QD 8',
    { rw: 'write', bs: '128k', iodepth: 8, end_fsync: 1 },
    'size',
    'bytes',
    [0.28, 0.2],
  ),
  durable(
    'fill-1m',
    '1 MiB sequential fill with end_fsync, QD 4',
    { rw: 'write', bs: '1m', iodepth: 4, end_fsync: 1 },
    'size',
    'bytes',
  ),
  {
    ...durable(
      'sustained-4k-qd32',
      '4k random write, QD 32, 60 s beyond the dirty limit',
      // The dirty limit is passed, and what is dirty is written back, before the clock starts. All
      // servers keep this much at once, Drover in three copies and with what is dead in its logs:
      // some 60 GiB of the disk. So it is the last row of this state.
      { rw: 'randwrite', bs: '4k', iodepth: 32, size: '4G', runtime: 60 },
      'time',
      'requests',
      [0.8, 0.5],
    ),
    leadSeconds: 20,
  },
  miss(
    'cold-read-4k-qd1',
    '4k random read, cold, QD 1',
    { rw: 'randread', bs: '4k', iodepth: 1 },
    'requests',
    [0.8, 0.4],
  ),
  miss(
    'cold-read-4k-qd32',
    '4k random read, cold, QD 32',
    { rw: 'randread', bs: '4k', iodepth: 32 },
    'requests',
    [0.8, 0.6],
  ),
  miss(
    'cold-read-4k-qd32-c4',
    '4k random read, cold, QD 32 on 4 connections',
    { rw: 'randread', bs: '4k', iodepth: 8, numjobs: 4 },
    'requests',
  ),
  miss(
    'cold-read-128k',
    '128k sequential read, cold, QD 8',
    { rw: 'read', bs: '128k', iodepth: 8 },
    'bytes',
    [0.8, 0.6],
  ),
];

/** Memory alone is what hits are compared with: nothing in it is durable, or ever cold. */
export function takesPart(row: Row, server: ServerName): boolean {
  return server !== MEMORY || row.goal?.peer === MEMORY;
}
