/**
 * The generator of large volumes: what it leaves must be what a gateway would have left.
 */
import test from 'ava';
import { startEmbedded } from '../../bench/drover-servers.ts';
import { generate, madeVolume } from '../../bench/growth/generate.ts';
import { ApiClient } from '../../server/cli/api-client.ts';
import { run } from '../support/child-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LIMIT_MS = 120_000;
const GIB = 2 ** 30;
const SPACING_BYTES = 8 * 2 ** 20 + 4096;

test('generated objects are served, alike on every copy, with data where it was asked for', async (t) => {
  t.timeout(240_000);
  const directory = await temporaryFolder(t);
  const start = async () => {
    const server = await startEmbedded({ directory, volumes: [`disk0=${GIB}`], copies: 3 });
    t.teardown(() => server.end());
    return server;
  };
  const first = await start();
  const volume = await madeVolume(first, 'disk0');
  await first.end();
  await generate(first.nodeDirectories, volume, SPACING_BYTES);
  const server = await start();

  const dataBlocks = Math.ceil(GIB / SPACING_BYTES);
  const report = await new ApiClient(new URL(server.httpUrl)).verify('disk0', true);
  t.is(report.differenceCount, 0);
  t.is(report.objects, dataBlocks);

  const script = [
    `ats = range(0, ${GIB}, ${SPACING_BYTES})`,
    'blocks = [h.pread(4096, at) for at in ats]',
    'assert all(any(block) for block in blocks), "a block of data is zeros"',
    'assert not any(any(h.pread(4096, at + 4096)) for at in ats if at + 8192 <= h.get_size())',
    'print(len(blocks))',
  ].join('\n');
  const output = await run(LIMIT_MS, '/usr/bin/python3', [
    '-m',
    'nbd',
    '-u',
    server.uri,
    '-c',
    script,
  ]);
  t.is(Number(output), dataBlocks);
});
