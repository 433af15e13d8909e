/**
 * Growth with how full the nodes are: what cleaning costs.
 */
import path from 'node:path';
import type { RunningDrover } from '../drover-servers.ts';
import { runFio } from '../fio.ts';
import { CLUSTER, type GrowthContext, type GrowthPart, MIB } from './growth-part.ts';

const FILL_PERCENTS = [10, 50, 70, 85];
/** Small, so that what is overwritten is not merged in the cache for long. */
const CACHE = '64M';
const FILL_BYTES_STEP = MIB;
/** Of the free space that is overwritten before measuring, so that cleaning has begun. */
const WARM_SHARE = 1.2;
const WARM_SECONDS_MAX = 45;

type NodeCounts = Readonly<Record<string, number>>;

/** Sums of the nodes' metrics, without `drover_engine_`. */
async function nodeCounts(server: RunningDrover, names: readonly string[]): Promise<NodeCounts> {
  const texts = server.nodeHttpUrls.map(async (url) => (await fetch(`${url}/metrics`)).text());
  const text = (await Promise.all(texts)).join('\n');
  return Object.fromEntries(
    names.map((name) => {
      const lines = text.matchAll(new RegExp(`^drover_engine_${name}\\{.*\\} (\\S+)$`, 'gm'));
      return [name, [...lines].reduce((sum, [, value]) => sum + Number(value), 0)];
    }),
  );
}

const SPACE = ['live_bytes', 'free_bytes'];
const WRITTEN = ['appended_bytes_total', 'payload_bytes_total', 'cleaning_bytes_total'];

async function measureFill(
  context: GrowthContext,
  server: RunningDrover,
  percent: number,
  usedBytes: number,
): Promise<void> {
  const { cleaningSeconds } = context.scale;
  const { directory } = context;
  const space = await nodeCounts(server, SPACE);
  const overwrite = { rw: 'randwrite', bs: '4k', size: usedBytes, randrepeat: 0, norandommap: 1 };
  const freeBytes = space['free_bytes']! / 3;
  if (percent !== FILL_PERCENTS[0]) {
    const bound = { io_size: Math.round(freeBytes * WARM_SHARE), runtime: WARM_SECONDS_MAX };
    await runFio(server.uri, { ...overwrite, iodepth: 32, ...bound }, directory);
  }
  const timed = { runtime: cleaningSeconds, time_based: 1 };
  const before = await nodeCounts(server, WRITTEN);
  const deep = await runFio(server.uri, { ...overwrite, iodepth: 32, ...timed }, directory);
  const after = await nodeCounts(server, WRITTEN);
  const grown = (name: string) => after[name]! - before[name]!;
  const single = { ...overwrite, iodepth: 1, fsync: 1 };
  const synced = await runFio(server.uri, { ...single, ...timed }, directory);
  const asked = grown('payload_bytes_total') - grown('cleaning_bytes_total');
  const figures = {
    used: (100 * space['live_bytes']!) / (space['live_bytes']! + space['free_bytes']!),
    writeAmplification: grown('appended_bytes_total') / asked,
    movedShare: (100 * grown('cleaning_bytes_total')) / asked,
    rate: deep.requestsPerSecond,
    meanUs: deep.meanUs,
    p99Us: deep.p99Us,
    syncMeanUs: synced.meanUs,
    syncP99Us: synced.p99Us,
  };
  context.add({ series: CLUSTER.name, at: `${percent} %`, figures });
}

export const CLEANING_PART: GrowthPart = {
  name: 'cleaning',
  title: 'Cleaning',
  method: `A cluster whose three stores may take 4 GiB each (\`--capacity 4G\`), with a cache of ${CACHE}; a volume of which so much is written as fills the given share of what writers can use. Then random 4 KiB overwrites all over it, first unmeasured until more than the free space was overwritten (not at 10 %, where nothing needs cleaning), then measured. Written: bytes appended to the nodes' logs over payload that the gateway sent them. Moved: live data that cleaning copied, over the same.`,
  axis: 'filled',
  measures: [
    { key: 'used', title: 'live', unit: '%' },
    { key: 'writeAmplification', title: 'written', unit: '×', isPlotted: true },
    { key: 'movedShare', title: 'moved', unit: '%' },
    { key: 'rate', title: 'writes QD 32', unit: '/s', isPlotted: true },
    { key: 'meanUs', title: 'mean', unit: 'µs' },
    { key: 'p99Us', title: 'p99', unit: 'µs', isPlotted: true },
    { key: 'syncMeanUs', title: 'flush QD 1', unit: 'µs' },
    { key: 'syncP99Us', title: 'p99', unit: 'µs', isPlotted: true },
  ],

  async run(context) {
    const capacity = context.scale.cleaningCapacity;
    const server = await CLUSTER.start({
      directory: path.join(context.directory, 'cluster'),
      volumes: [`disk0=${capacity}`],
      ...{ cache: CACHE, capacity },
    });
    try {
      const space = await nodeCounts(server, SPACE);
      const usableBytes = (space['live_bytes']! + space['free_bytes']!) / 3;
      let usedBytes = 0;
      for (const percent of FILL_PERCENTS) {
        context.checkTime();
        const wanted = (usableBytes * percent) / 100;
        const end = Math.floor(wanted / FILL_BYTES_STEP) * FILL_BYTES_STEP;
        const fill = { rw: 'write', bs: '1m', iodepth: 4, end_fsync: 1, refill_buffers: 1 };
        const place = { offset: usedBytes, size: end - usedBytes };
        await runFio(server.uri, { ...fill, ...place }, context.directory);
        usedBytes = end;
        await measureFill(context, server, percent, usedBytes);
      }
    } finally {
      await server.end();
    }
  },

  targets: () => [],
};
