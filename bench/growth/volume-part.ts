/**
 * Growth with the size of a volume: memory, attach time, latency of single 4 KiB requests.
 */
import fs from 'node:fs';
import type { RunningDrover } from '../drover-servers.ts';
import { type FioOptions, runFio } from '../fio.ts';
import { flush, untilQuiet } from '../measure.ts';
import { connectMs } from './attach-time.ts';
import { generate, madeVolume } from './generate.ts';
import {
  type Arrangement,
  CLUSTER,
  directoryOf,
  EMBEDDED_ONE,
  EMBEDDED_THREE,
  figureAt,
  formatBytes,
  type GrowthContext,
  type GrowthPart,
  median,
  memoryFigures,
} from './growth-part.ts';
import type { GrowthPoint, Target } from './growth-report.ts';

const FULL_VOLUME = '1 TiB';
const LARGEST_VOLUME = '64 TiB';
const SMALLEST_VOLUME = '1 GiB';
const ATTACH_MS_MAX = 2000;
/** Of the data stored, beyond a fixed part. */
const NODE_MEMORY_SHARE = 0.001;
const NODE_MEMORY_FIXED_MIB = 300;
/** "Costs what it costs": within what two runs of one thing differ by. */
const SAME_COST_RATIO = 1.25;

/** Single requests; over the whole volume, or in its first gibibyte. */
const SINGLE = { bs: '4k', iodepth: 1, time_based: 1, randrepeat: 0, norandommap: 1 };
const WHOLE = { random_generator: 'tausworthe64' };
const NEAR = { size: '1G' };

async function latencies(server: RunningDrover, context: GrowthContext, spacingBytes: number) {
  const { seconds } = context.scale;
  const run = async (options: FioOptions) => {
    const job = { ...SINGLE, runtime: seconds, ...options };
    const { meanUs } = await runFio(server.uri, job, context.directory);
    // What it left dirty must not be paid by the next one's flushes.
    await flush(server);
    await untilQuiet(server);
    return meanUs;
  };
  // Once: what was read is in the cache.
  const readUs = await run({ rw: 'randread', blockalign: spacingBytes, ...WHOLE });
  const writes: Record<string, FioOptions> = {
    writeNearUs: { rw: 'randwrite', ...NEAR },
    writeFarUs: { rw: 'randwrite', ...WHOLE },
    syncNearUs: { rw: 'randwrite', fsync: 1, ...NEAR },
    syncFarUs: { rw: 'randwrite', fsync: 1, ...WHOLE },
  };
  const rounds: Record<string, number[]> = {};
  for (let round = 0; round < context.scale.writeRounds; round += 1) {
    for (const [key, options] of Object.entries(writes)) {
      rounds[key] = [...(rounds[key] ?? []), await run(options)];
    }
  }
  const medians = Object.entries(rounds).map(([key, values]) => [key, median(values)]);
  return { readUs, ...Object.fromEntries(medians) };
}

async function measureVolume(
  context: GrowthContext,
  arrangement: Arrangement,
  volumeBytes: number,
): Promise<void> {
  const { scale } = context;
  const at = formatBytes(volumeBytes);
  const directory = directoryOf(context, arrangement.name, at);
  const start = () => arrangement.start({ directory, volumes: [`disk0=${volumeBytes}`] });
  const spacingBytes = Math.ceil(volumeBytes / scale.dataBlocks / 4096) * 4096;
  let server = await start();
  try {
    const volume = await madeVolume(server, 'disk0');
    await server.end();
    await generate(server.nodeDirectories, volume, spacingBytes);
    const attachMs: number[] = [];
    for (let n = 0; n < scale.attachments; n += 1) {
      server = await start();
      await untilQuiet(server);
      attachMs.push(await connectMs(server.uri));
      if (n < scale.attachments - 1) await server.end();
    }
    await untilQuiet(server);
    const attached = memoryFigures(server);
    const figures = await latencies(server, context, spacingBytes);
    const loaded = memoryFigures(server);
    const point = {
      attachMs: median(attachMs),
      ...attached,
      ...figures,
      ...Object.fromEntries(Object.entries(loaded).map(([key, value]) => [`${key}Loaded`, value])),
    };
    context.add({ series: arrangement.name, at, figures: point });
  } finally {
    await server.end();
    // Gigabytes each, and the next one is like it.
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** Data that the volumes hold, as far as objects are made whole: 4 MiB each. */
function storedMib(at: string): number {
  return at === '1 GiB' ? 1024 : at === '100 GiB' ? 102_400 : 1_048_576;
}

export const VOLUME_PART: GrowthPart = {
  name: 'volumes',
  title: 'Size of a volume',
  method:
    'Every volume holds 262,144 blocks of data at equal distances (so 4 KiB of data in each object at 1 TiB), written into the stopped nodes by their own engine; the rest of these objects are allocated zeros. 1 GiB, 100 GiB and 1 TiB have all their objects, 256, 25,600 and 262,144; 64 TiB is thin: every 64th object, 262,144. Attach: connecting and handshake of the first client after a start, median of 3. Latencies: means of single 4 KiB requests; reads of blocks with data that are not in the cache; writes in the first GiB and over the whole volume; the time of a flush after every write likewise; those of writes and flushes are medians of 3 rounds. Memory after attaching, and after the load: resident, and of it what is not pages of mapped files.',
  axis: 'volume',
  measures: [
    { key: 'attachMs', title: 'attach', unit: 'ms', isPlotted: true },
    { key: 'readUs', title: 'read, miss', unit: 'µs', isPlotted: true },
    { key: 'writeNearUs', title: 'write, 1 GiB', unit: 'µs' },
    { key: 'writeFarUs', title: 'write, whole', unit: 'µs', isPlotted: true },
    { key: 'syncNearUs', title: 'flush, 1 GiB', unit: 'µs' },
    { key: 'syncFarUs', title: 'flush, whole', unit: 'µs', isPlotted: true },
    { key: 'processRss', title: 'process attached', unit: 'MiB', isPlotted: true },
    { key: 'processRssLoaded', title: 'loaded', unit: 'MiB' },
    { key: 'processAnonLoaded', title: 'loaded, own', unit: 'MiB' },
    { key: 'gatewayRss', title: 'gateway attached', unit: 'MiB', isPlotted: true },
    { key: 'gatewayRssLoaded', title: 'loaded', unit: 'MiB' },
    { key: 'nodesRss', title: 'three nodes attached', unit: 'MiB', isPlotted: true },
    { key: 'nodesRssLoaded', title: 'loaded', unit: 'MiB' },
    { key: 'nodesAnonLoaded', title: 'loaded, own', unit: 'MiB' },
  ],

  async run(context) {
    for (const volumeBytes of context.scale.volumeBytes) {
      for (const arrangement of [EMBEDDED_ONE, EMBEDDED_THREE, CLUSTER]) {
        if (!context.isWanted(arrangement.name, formatBytes(volumeBytes))) continue;
        context.checkTime();
        await measureVolume(context, arrangement, volumeBytes);
      }
    }
  },

  targets(points) {
    const series = [...new Set(points.map((point) => point.series))];
    return series.flatMap((name) => [
      ...attachTarget(points, name),
      ...memoryTarget(points, name),
      ...costTargets(points, name),
    ]);
  },
};

function attachTarget(points: readonly GrowthPoint[], series: string): Target[] {
  const ms = figureAt(points, series, FULL_VOLUME, 'attachMs');
  if (ms === undefined) return [];
  const title = `attach of a full 1 TiB volume, ${series}`;
  return [{ title, wanted: '< 2 s', reached: `${ms.toFixed(0)} ms`, isMet: ms < ATTACH_MS_MAX }];
}

/** Nodes are seen alone only where they are processes of their own. */
function memoryTarget(points: readonly GrowthPoint[], series: string): Target[] {
  return points
    .filter((point) => point.series === series && point.figures['nodesRssLoaded'] !== undefined)
    .map(({ at, figures }) => {
      const nodeMib = figures['nodesRssLoaded']! / 3;
      const limitMib = NODE_MEMORY_FIXED_MIB + NODE_MEMORY_SHARE * storedMib(at);
      return {
        title: `memory of a node, volume of ${at}`,
        wanted: `< ${limitMib.toFixed(0)} MiB`,
        reached: `${nodeMib.toFixed(0)} MiB`,
        isMet: nodeMib < limitMib,
      };
    });
}

function costTargets(points: readonly GrowthPoint[], series: string): Target[] {
  const kinds = [
    { key: 'writeNearUs', title: 'write in a GiB of a 64 TiB volume' },
    { key: 'writeFarUs', title: 'write anywhere on a 64 TiB volume' },
    { key: 'syncNearUs', title: 'flush of a write in a GiB of a 64 TiB volume' },
    { key: 'syncFarUs', title: 'flush of a write anywhere on a 64 TiB volume' },
  ];
  return kinds.flatMap(({ key, title }) => {
    const large = figureAt(points, series, LARGEST_VOLUME, key);
    const small = figureAt(points, series, SMALLEST_VOLUME, key);
    if (large === undefined || small === undefined) return [];
    const ratio = large / small;
    return [
      {
        title: `${title}, ${series}`,
        wanted: `what it costs on 1 GiB (up to ${SAME_COST_RATIO} ×)`,
        reached: `${ratio.toFixed(2)} ×`,
        isMet: ratio <= SAME_COST_RATIO,
      },
    ];
  });
}
