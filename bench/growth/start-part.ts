/**
 * Growth with the objects of a node: how long it takes to start.
 */
import path from 'node:path';
import { startEmbedded } from '../drover-servers.ts';
import { runFio } from '../fio.ts';
import { memoryOf } from '../process.ts';
import { generate, madeVolume } from './generate.ts';
import {
  figureAt,
  type GrowthContext,
  type GrowthPart,
  MIB,
  median,
  memoryFigures,
} from './growth-part.ts';

const OBJECT_BYTES = 4 * 2 ** 20;
const START_MS_MAX = 3000;
const CLEAN = 'after an orderly stop';
const KILLED = 'after kill -9 under load';

/** From starting the process to being ready. */
async function timedStart(directory: string, sizeBytes: number) {
  const startMs = performance.now();
  const server = await startEmbedded({ directory, volumes: [`disk0=${sizeBytes}`], copies: 1 });
  return { server, ms: performance.now() - startMs };
}

async function cleanStarts(context: GrowthContext, directory: string, sizeBytes: number) {
  const ms: number[] = [];
  let rss = 0;
  for (let n = 0; n < context.scale.starts; n += 1) {
    const started = await timedStart(directory, sizeBytes);
    ms.push(started.ms);
    rss = memoryFigures(started.server)['processRss']!;
    await started.server.end();
  }
  return { startMs: median(ms), rss };
}

async function killedStarts(context: GrowthContext, directory: string, sizeBytes: number) {
  const ms: number[] = [];
  let rss = 0;
  for (let n = 0; n < context.scale.starts; n += 1) {
    const { server } = await timedStart(directory, sizeBytes);
    // Durable writes that the index on disk does not know yet: replay has to read them.
    const job = { rw: 'randwrite', bs: '4k', iodepth: 32, fsync: 32, size: '1G' };
    const bound = { runtime: context.scale.seconds, time_based: 1, randrepeat: 0 };
    await runFio(server.uri, { ...job, ...bound }, context.directory);
    await server.kill();
    const again = await timedStart(directory, sizeBytes);
    ms.push(again.ms);
    rss = memoryOf(again.server.pids).residentBytes / MIB;
    await again.server.end();
  }
  return { startMs: median(ms), rss };
}

function label(objects: number): string {
  return objects.toLocaleString('en-US');
}

export const START_PART: GrowthPart = {
  name: 'start',
  title: 'Start-up with objects',
  method:
    'One data directory, embedded; from starting the process to being ready, medians of 3. A node without objects shows what is not the node. The objects hold 4 KiB of data each and are written by the engine itself. Before `kill -9`, 4 KiB writes with fsync=32 at QD 32 run for 3 s, so that a part of the log has to be replayed.',
  axis: 'objects',
  measures: [
    { key: 'startMs', title: 'start', unit: 'ms', isPlotted: true },
    { key: 'rss', title: 'process', unit: 'MiB', isPlotted: true },
  ],

  async run(context) {
    const { objects } = context.scale;
    const sizeBytes = objects * OBJECT_BYTES;
    const directory = path.join(context.directory, 'node');
    const { server } = await timedStart(directory, sizeBytes);
    const volume = await madeVolume(server, 'disk0');
    await server.end();
    const add = (series: string, at: number, figures: Record<string, number>) =>
      context.add({ series, at: label(at), figures });
    add(CLEAN, 0, await cleanStarts(context, directory, sizeBytes));
    context.checkTime();
    await generate(server.nodeDirectories, volume, OBJECT_BYTES);
    add(CLEAN, objects, await cleanStarts(context, directory, sizeBytes));
    context.checkTime();
    add(KILLED, objects, await killedStarts(context, directory, sizeBytes));
  },

  targets(points) {
    const at = points.at(-1)?.at ?? '';
    return [CLEAN, KILLED].flatMap((series) => {
      const ms = figureAt(points, series, at, 'startMs');
      if (ms === undefined || at === label(0)) return [];
      const title = `start with ${at} objects ${series}`;
      return [{ title, wanted: '< 3 s', reached: `${ms.toFixed(0)} ms`, isMet: ms < START_MS_MAX }];
    });
  },
};
