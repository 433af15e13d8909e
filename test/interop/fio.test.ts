/**
 * fio's nbd engine, which verifies what it wrote with a checksum of its own in every block.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { run } from '../support/child-process.ts';
import { DroverServer } from '../support/drover-server.ts';
import { randomForTest } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LIMIT_MS = 120_000;

interface FioJob {
  readonly error: number;
  readonly read: { readonly total_ios: number };
  readonly write: { readonly total_ios: number };
  readonly trim: { readonly total_ios: number };
}

interface Scene {
  readonly server: DroverServer;
  fio(...args: string[]): Promise<FioJob>;
}

/** A server whose cache is smaller than the disk, so that verifying reads come from the store too. */
async function serve(t: ExecutionContext): Promise<Scene> {
  t.timeout(240_000);
  const folder = await temporaryFolder(t);
  const server = await DroverServer.start(t, {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=256M'],
    cache: '64M',
  });
  const seed = randomForTest(t).seed;
  const common = ['--name=job', '--ioengine=nbd', `--uri=${server.uri()}`, `--randseed=${seed}`];
  let runs = 0;
  return {
    server,
    fio: async (...args) => {
      const output = join(folder, `fio${runs++}.json`);
      const report = ['--output-format=json', `--output=${output}`];
      await run(LIMIT_MS, 'fio', [...common, ...report, ...args], { cwd: folder });
      const text = await readFile(output, 'utf8');
      // Its nbd engine prints a line of its own before the report.
      const job = (JSON.parse(text.slice(text.indexOf('{'))) as { jobs: FioJob[] }).jobs[0];
      t.is(job!.error, 0);
      return job!;
    },
  };
}

const VERIFY = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--iodepth=32'];

test.serial('random writes of mixed sizes down to 512 bytes verify at depth 32', async (t) => {
  const { fio, server } = await serve(t);
  const sizes = '--bssplit=512/20:1k/5:4k/40:7k/5:16k/15:64k/10:256k/5';
  const mixed = ['--rw=randwrite', sizes, '--bs_unaligned=0', '--blockalign=512'];
  const job = await fio(...VERIFY, ...mixed, '--size=192M', '--io_size=96M', '--fsync=200');
  t.true(job.read.total_ios > 0 && job.write.total_ios > 1000);
  await server.stop();
});

test.serial('sequential large writes verify', async (t) => {
  const { fio } = await serve(t);
  const job = await fio(...VERIFY, '--rw=write', '--bs=1M', '--size=256M', '--end_fsync=1');
  t.is(job.write.total_ios, 256);
});

test.serial('512-byte writes verify after each block was written in eight pieces', async (t) => {
  const { fio } = await serve(t);
  const job = await fio(...VERIFY, '--rw=randwrite', '--bs=512', '--size=8M', '--offset=1M');
  t.is(job.write.total_ios, 16384);
});

test.serial('trims between writes are answered and the writes verify', async (t) => {
  const { fio } = await serve(t);
  // fio's trimwrite trims a block and writes it at once, sequentially.
  const job = await fio('--rw=trimwrite', '--bs=64k', '--size=128M', '--iodepth=32');
  t.true(job.trim.total_ios >= 1000 && job.write.total_ios >= 1000);
  const random = await fio('--rw=randtrim', '--bs=16k', '--size=64M', '--iodepth=32');
  t.is(random.trim.total_ios, 4096);
  await fio(...VERIFY, '--rw=randwrite', '--bs=8k', '--size=64M', '--trim_percentage=10');
});

test.serial('two programs that write and flush at the same time both verify', async (t) => {
  const { fio } = await serve(t);
  const args = [...VERIFY, '--rw=randwrite', '--bs=4k', '--size=64M', '--fsync=64'];
  const jobs = await Promise.all([fio(...args), fio(...args, '--offset=128M')]);
  t.true(jobs.every((job) => job.write.total_ios === 16384));
});
