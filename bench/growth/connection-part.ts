/**
 * Growth with the number of connections to one volume.
 */
import { runFio } from '../fio.ts';
import { fill, flush, untilQuiet } from '../measure.ts';
import { memoryOf } from '../process.ts';
import { CLUSTER, directoryOf, EMBEDDED_THREE, type GrowthPart, MIB } from './growth-part.ts';

const RESIDENT = '256M';

export const CONNECTION_PART: GrowthPart = {
  name: 'connections',
  title: 'Connections',
  method:
    'Single random 4 KiB requests on each connection, to 256 MiB of one volume that are in the cache. Memory: all processes after the load.',
  axis: 'connections',
  measures: [
    { key: 'readRate', title: 'reads', unit: '/s', isPlotted: true },
    { key: 'readMeanUs', title: 'mean', unit: 'µs' },
    { key: 'readP99Us', title: 'p99', unit: 'µs', isPlotted: true },
    { key: 'writeRate', title: 'writes', unit: '/s', isPlotted: true },
    { key: 'writeMeanUs', title: 'mean', unit: 'µs' },
    { key: 'writeP99Us', title: 'p99', unit: 'µs', isPlotted: true },
    { key: 'rss', title: 'memory', unit: 'MiB', isPlotted: true },
  ],

  async run(context) {
    const { scale } = context;
    for (const arrangement of [EMBEDDED_THREE, CLUSTER]) {
      context.checkTime();
      const server = await arrangement.start({
        directory: directoryOf(context, arrangement.name, ''),
        volumes: ['disk0=1G'],
      });
      try {
        await fill(server, RESIDENT, context.directory);
        await untilQuiet(server);
        for (const connections of scale.connectionCounts) {
          context.checkTime();
          const run = async (rw: string) => {
            const job = { rw, bs: '4k', iodepth: 1, numjobs: connections, thread: 1 };
            const bound = { size: RESIDENT, runtime: scale.seconds, time_based: 1, randrepeat: 0 };
            const result = await runFio(server.uri, { ...job, ...bound }, context.directory);
            await flush(server);
            await untilQuiet(server);
            return result;
          };
          const read = await run('randread');
          const write = await run('randwrite');
          const figures = {
            readRate: read.requestsPerSecond,
            readMeanUs: read.meanUs,
            readP99Us: read.p99Us,
            writeRate: write.requestsPerSecond,
            writeMeanUs: write.meanUs,
            writeP99Us: write.p99Us,
            rss: memoryOf(server.pids).residentBytes / MIB,
          };
          context.add({ series: arrangement.name, at: String(connections), figures });
        }
      } finally {
        await server.end();
      }
    }
  },

  targets: () => [],
};
