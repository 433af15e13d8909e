/**
 * Random 4 KiB writes over a disk many times larger than the cache, and the most memory that the
 * server held meanwhile.
 */
import { join } from 'node:path';
import { run } from './child-process.ts';
import { DroverServer } from './drover-server.ts';
import { residentBytesPeak } from './memory.ts';
import { randomForTest } from './seeded-random.ts';
import { type TestScope, temporaryFolder } from './temp-folder.ts';

const MIB = 1024 * 1024;
const CACHE_MIB = 128;
/** What a process may hold beside its cache. */
const BESIDE_CACHE_MIB = 256;
const LIMIT_MS = 850_000;

export interface MemoryResult {
  readonly peakBytes: number;
  readonly boundBytes: number;
}

export async function randomWritesBeyondCache(
  t: TestScope,
  { writes }: { readonly writes: number },
): Promise<MemoryResult> {
  const folder = await temporaryFolder(t);
  const server = await DroverServer.start(t, {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=8G'],
    cache: `${CACHE_MIB}M`,
  });
  const seed = randomForTest(t).seed;
  await run(LIMIT_MS, 'fio', [
    ...['--name=job', '--ioengine=nbd', `--uri=${server.uri()}`, `--randseed=${seed}`],
    ...['--rw=randwrite', '--bs=4k', '--iodepth=32', '--size=8G', '--norandommap'],
    `--number_ios=${writes}`,
  ]);
  const peakBytes = residentBytesPeak(server.program.pid);
  t.log(`peak ${Math.round(peakBytes / MIB)} MiB with a cache of ${CACHE_MIB} MiB`);
  await server.stop();
  return { peakBytes, boundBytes: (CACHE_MIB + BESIDE_CACHE_MIB) * MIB };
}
