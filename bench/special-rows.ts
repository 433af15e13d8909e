/**
 * Rows that are not one timed fio job: seconds that an operation takes, and reads during a flush.
 */
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

async function readP99Us(server: RunningServer, directory: string): Promise<number> {
  const options = { rw: 'randread', bs: '4k', iodepth: 1, size: '256M', runtime: 3, time_based: 1 };
  return (await runFio(server.uri, { ...options, randrepeat: 0 }, directory)).p99Us;
}

/** p99 of 4k reads while 256 MiB are flushed again and again, over p99 without. */
async function readsDuringFlush(server: RunningServer, directory: string): Promise<number> {
  const quiet = await readP99Us(server, directory);
  const script = [
    'import time',
    'data = bytearray(1 << 20)',
    'end = time.time() + 4',
    'while time.time() < end:',
    '  for i in range(256): h.pwrite(data, (512 + i) << 20)',
    '  h.flush()',
  ].join('\n');
  const writer = startProcess('/usr/bin/python3', ['-m', 'nbd', '-u', server.uri, '-c', script], {
    logFile: '/dev/null',
  });
  const loaded = await readP99Us(server, directory);
  await writer.end('SIGTERM');
  return loaded / quiet;
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
    await runCommand('fusermount3', ['-u', mountPoint]);
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
