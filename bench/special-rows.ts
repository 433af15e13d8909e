/**
 * Rows that are not one timed fio job: seconds that an operation takes, and reads during a flush.
 */
import fs from 'node:fs';
import path from 'node:path';
import { runFio } from './fio.ts';
import { runCommand, startProcess } from './process.ts';
import type { RunningServer } from './servers.ts';

export interface SpecialRow {
  readonly name: string;
  readonly title: string;
  readonly unit: 'seconds' | 'ratio';
  /** The most that the figure may be, embedded and as a cluster. */
  readonly goalMax: { readonly embedded: number; readonly cluster: number };
  measure(server: RunningServer, directory: string): Promise<number>;
}

/** Runs Python on a connected libnbd handle `h`, and returns the seconds that its loop took. */
async function timedScript(server: RunningServer, body: string): Promise<number> {
  const script = ['import time', 't = time.time()', body, 'print("seconds", time.time() - t)'];
  const output = await runCommand('/usr/bin/python3', [
    ...['-m', 'nbd', '-u', server.uri],
    ...['-c', script.join('\n')],
  ]);
  return Number(/seconds ([\d.]+)/.exec(output)?.[1]);
}

/** Requests of 1 GiB over a TiB: what a 32-bit length allows, in powers of two. */
function overOneTebibyte(call: string): string {
  return `for i in range(1024): h.${call}(1 << 30, i << 30)\nh.flush()`;
}

interface TimedRead {
  /** When it ended, in milliseconds since 1970. */
  readonly atMs: number;
  readonly us: number;
}

/** Single 4 KiB reads of resident blocks, each with its time. */
async function timedReads(server: RunningServer, directory: string): Promise<TimedRead[]> {
  const options = { rw: 'randread', bs: '4k', iodepth: 1, size: '256M', runtime: 4, time_based: 1 };
  const prefix = path.join(directory, 'reads');
  const log = { write_lat_log: prefix, log_unix_epoch: 1, randrepeat: 0 };
  await runFio(server.uri, { ...options, ...log }, directory);
  const lines = fs.readFileSync(`${prefix}_clat.1.log`, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const [atMs, ns] = line.split(',').map(Number);
    return { atMs: atMs!, us: ns! / 1000 };
  });
}

function p99Us(reads: readonly TimedRead[]): number {
  if (reads.length === 0) throw new Error('no read fell into the time that is asked for');
  const sorted = reads.map(({ us }) => us).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.99)]!;
}

/**
 * p99 of 4k reads that ended while a flush of 256 MiB was under way, over p99 without. The writes
 * before each flush are a load too, but not the one in question.
 */
async function readsDuringFlush(server: RunningServer, directory: string): Promise<number> {
  const quiet = p99Us(await timedReads(server, directory));
  const flushesFile = path.join(directory, 'flushes');
  const script = [
    'import os, time',
    'data = os.urandom(1 << 20)',
    'end = time.time() + 6',
    'while time.time() < end:',
    '  for i in range(256): h.pwrite(data, (512 + i) << 20)',
    '  start = time.time() * 1000',
    '  h.flush()',
    '  print(start, time.time() * 1000, flush=True)',
  ].join('\n');
  const writer = startProcess('/usr/bin/python3', ['-m', 'nbd', '-u', server.uri, '-c', script], {
    logFile: flushesFile,
  });
  const reads = await timedReads(server, directory);
  await writer.ended;
  const flushes = fs.readFileSync(flushesFile, 'utf8').trim().split('\n');
  fs.rmSync(flushesFile);
  const during = flushes.map((line) => line.split(' ').map(Number));
  return (
    p99Us(reads.filter(({ atMs }) => during.some(([from, to]) => atMs >= from! && atMs <= to!))) /
    quiet
  );
}

async function makeFilesystem(server: RunningServer, directory: string): Promise<number> {
  const mountPoint = `${directory}/nbdfuse`;
  await runCommand('mkdir', ['-p', mountPoint]);
  const fuse = startProcess('nbdfuse', [mountPoint, server.uri], { logFile: '/dev/null' });
  try {
    await runCommand('sh', [
      '-c',
      `for i in $(seq 100); do [ -e ${mountPoint}/nbd ] && exit; sleep 0.1; done; exit 1`,
    ]);
    const output = await runCommand('bash', [
      '-c',
      `TIMEFORMAT='seconds %R'; time mkfs.ext4 -q -F ${mountPoint}/nbd 2>&1`,
    ]);
    return Number(/seconds ([\d.]+)/.exec(output)?.[1]);
  } finally {
    await runCommand('umount', [mountPoint]);
    await fuse.end('SIGTERM');
  }
}

export const SPECIAL_ROWS: readonly SpecialRow[] = [
  {
    name: 'reads-during-flush',
    title: 'p99 of 4k reads during a 256 MiB flush, over p99 without',
    unit: 'ratio',
    goalMax: { embedded: 3, cluster: 4 },
    measure: readsDuringFlush,
  },
  {
    name: 'trim-1t',
    title: 'TRIM of 1 TiB',
    unit: 'seconds',
    goalMax: { embedded: 1, cluster: 1 },
    measure: (server) => timedScript(server, overOneTebibyte('trim')),
  },
  {
    name: 'zero-1t',
    title: 'WRITE_ZEROES of 1 TiB',
    unit: 'seconds',
    goalMax: { embedded: 1, cluster: 1 },
    measure: (server) => timedScript(server, overOneTebibyte('zero')),
  },
  {
    name: 'mkfs-ext4-1t',
    title: 'mkfs.ext4 of 1 TiB through nbdfuse',
    unit: 'seconds',
    goalMax: { embedded: 5, cluster: 5 },
    measure: makeFilesystem,
  },
];
