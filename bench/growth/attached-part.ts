/**
 * Growth with the number of attached volumes.
 */

import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningDrover } from '../drover-servers.ts';
import { runFio } from '../fio.ts';
import { fill, flush, untilQuiet } from '../measure.ts';
import { type RunningProcess, startProcess } from '../process.ts';
import {
  type Arrangement,
  CLUSTER,
  directoryOf,
  EMBEDDED_THREE,
  type GrowthContext,
  type GrowthPart,
  memoryFigures,
} from './growth-part.ts';

const JOBS = 64;
const HOLD_LIMIT_MS = 60_000;

/** Connects to each volume and stays; the milliseconds of all attachments, one after the other. */
async function holdAll(
  uris: readonly string[],
  directory: string,
): Promise<{ readonly holder: RunningProcess; readonly ms: number }> {
  const logFile = path.join(directory, 'held');
  fs.rmSync(logFile, { force: true });
  const script = [
    'import nbd, sys, time',
    'handles = [nbd.NBD() for uri in sys.argv[1:]]',
    'start = time.monotonic()',
    'for h, uri in zip(handles, sys.argv[1:]): h.connect_uri(uri)',
    'print("ms", (time.monotonic() - start) * 1000, flush=True)',
    'time.sleep(3600)',
  ].join('\n');
  const holder = startProcess('/usr/bin/python3', ['-c', script, ...uris], { logFile });
  for (let waitedMs = 0; waitedMs < HOLD_LIMIT_MS; waitedMs += 50) {
    const held = /ms ([\d.]+)/.exec(fs.readFileSync(logFile, 'utf8'))?.[1];
    if (held !== undefined) return { holder, ms: Number(held) };
    if (holder.hasEnded()) break;
    await sleep(50);
  }
  await holder.end('SIGKILL');
  throw new Error(`not all volumes were attached:\n${fs.readFileSync(logFile, 'utf8')}`);
}

async function loads(server: RunningDrover, context: GrowthContext, uris: readonly string[]) {
  const { seconds } = context.scale;
  // As many jobs in every case: on one volume, or shared out over all.
  const targets = Array.from({ length: JOBS }, (_, n) => uris[n % uris.length]!);
  const run = async (rw: string, sync: object) => {
    const job = { rw, bs: '4k', iodepth: 1, size: '16M', runtime: seconds, time_based: 1 };
    const result = await runFio(
      targets,
      { ...job, randrepeat: 0, thread: 1, ...sync },
      context.directory,
    );
    // What it left dirty must not be paid by the next one's flushes.
    for (const uri of uris) await flush({ uri });
    await untilQuiet(server);
    return result;
  };
  const read = await run('randread', {});
  const write = await run('randwrite', {});
  const synced = await run('randwrite', { fsync: 1 });
  return {
    readRate: read.requestsPerSecond,
    readP99Us: read.p99Us,
    writeRate: write.requestsPerSecond,
    writeP99Us: write.p99Us,
    syncRate: synced.requestsPerSecond,
    syncP99Us: synced.p99Us,
  };
}

async function measureCount(
  context: GrowthContext,
  arrangement: Arrangement,
  count: number,
): Promise<void> {
  const names = Array.from({ length: count }, (_, n) => `disk${n}`);
  const server = await arrangement.start({
    directory: directoryOf(context, arrangement.name, String(count)),
    volumes: names.map((name) => `${name}=1G`),
  });
  try {
    await untilQuiet(server);
    const idle = memoryFigures(server);
    const uris = names.map((name) => server.uriOf(name));
    const { holder, ms } = await holdAll(uris, context.directory);
    try {
      await untilQuiet(server);
      const attached = memoryFigures(server);
      for (const uri of uris) await fill({ ...server, uri }, '16M', context.directory);
      const figures = await loads(server, context, uris);
      const before = Object.fromEntries(
        Object.entries(idle).map(([key, value]) => [`${key}Idle`, value]),
      );
      const point = { attachEachMs: ms / count, ...before, ...attached, ...figures };
      context.add({ series: arrangement.name, at: String(count), figures: point });
    } finally {
      await holder.end('SIGKILL');
    }
  } finally {
    await server.end();
  }
}

export const ATTACHED_PART: GrowthPart = {
  name: 'attached',
  title: 'Attached volumes',
  method:
    'Volumes of 1 GiB with 16 MiB of data each, attached one after the other. The load is the same in every case: 64 jobs of single 4 KiB requests, all on one volume or one on each of 64. Memory is resident memory before the first attach and after the last.',
  axis: 'volumes',
  measures: [
    { key: 'attachEachMs', title: 'attach, each', unit: 'ms', isPlotted: true },
    { key: 'readRate', title: 'reads', unit: '/s', isPlotted: true },
    { key: 'readP99Us', title: 'p99', unit: 'µs' },
    { key: 'writeRate', title: 'writes', unit: '/s', isPlotted: true },
    { key: 'writeP99Us', title: 'p99', unit: 'µs' },
    { key: 'syncRate', title: 'writes with fsync', unit: '/s', isPlotted: true },
    { key: 'syncP99Us', title: 'p99 of the flush', unit: 'µs' },
    { key: 'processRssIdle', title: 'process idle', unit: 'MiB' },
    { key: 'processRss', title: 'attached', unit: 'MiB' },
    { key: 'gatewayRssIdle', title: 'gateway idle', unit: 'MiB' },
    { key: 'gatewayRss', title: 'attached', unit: 'MiB' },
    { key: 'nodesRssIdle', title: 'three nodes idle', unit: 'MiB' },
    { key: 'nodesRss', title: 'attached', unit: 'MiB' },
  ],

  async run(context) {
    for (const count of context.scale.volumeCounts) {
      for (const arrangement of [EMBEDDED_THREE, CLUSTER]) {
        context.checkTime();
        await measureCount(context, arrangement, count);
      }
    }
  },

  targets: () => [],
};
