import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type CommandResult, run, runToEnd, startProgram } from '../../support/child-process.ts';
import { DroverServer, MAIN, type ServeOptions } from '../../support/drover-server.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { eventually } from '../../support/time-limit.ts';

const LIMIT_MS = 60_000;
const GIB = 1024 ** 3;

async function optionsFor(t: ExecutionContext): Promise<ServeOptions> {
  t.timeout(180_000);
  const folder = await temporaryFolder(t);
  const dataDirectory = join(folder, 'data');
  return { dataDirectory, socketPath: join(folder, 's'), volumes: [], cache: '64M' };
}

function drover(...args: string[]): Promise<CommandResult> {
  return runToEnd(LIMIT_MS, process.execPath, [MAIN, ...args]);
}

function volume(server: DroverServer, ...args: string[]): Promise<CommandResult> {
  return drover('volume', ...args, '--server', server.httpUrl);
}

async function sizeOf(server: DroverServer, name: string): Promise<number> {
  return Number(await run(LIMIT_MS, 'nbdinfo', ['--size', server.uri(name)]));
}

/** What `drover serve` says that cannot start. */
async function failsToStart(t: ExecutionContext, args: readonly string[]): Promise<string> {
  const result = await drover('serve', '--cache', '64M', '--http', '127.0.0.1:0', ...args);
  t.is(result.code, 1, result.stderr);
  const lines = result.stderr.trim().split('\n');
  const [line, ...more] = lines.filter((one) => !one.startsWith('{'));
  t.deepEqual(more, []);
  return line!;
}

test.serial(
  'a first start makes disk0 of 10 GiB, says how to attach it, and stops with 0',
  async (t) => {
    const server = await DroverServer.start(t, await optionsFor(t));
    t.is(await sizeOf(server, 'disk0'), 10 * GIB);
    t.is(await sizeOf(server, ''), 10 * GIB);
    t.regex(server.program.stdout, /nbd-client/);
    t.regex(server.program.stdout, /qemu-system/);
    t.regex(server.program.stdout, /nbdinfo/);
    t.is((await fetch(`${server.httpUrl}/healthz`)).status, 200);
    t.is((await fetch(`${server.httpUrl}/readyz`)).status, 200);
    await server.stop();
  },
);

test.serial('Ctrl-C makes durable what was never flushed', async (t) => {
  const options = await optionsFor(t);
  const server = await DroverServer.start(t, options);
  const write = ['-f', 'raw', '-t', 'unsafe', '-c', 'write -P 0x5a 1M 3M', server.uri()];
  await run(LIMIT_MS, 'qemu-io', write);
  server.program.kill('SIGINT');
  t.is((await server.program.ended(LIMIT_MS)).code, 0);
  const again = await DroverServer.start(t, options);
  const read = ['-f', 'raw', '-c', 'read -P 0x5a 1M 3M', again.uri()];
  t.notRegex(await run(LIMIT_MS, 'qemu-io', read), /failed/);
});

test.serial('volumes come from the command line and from the environment, once', async (t) => {
  const options = await optionsFor(t);
  const first = await DroverServer.start(t, { ...options, volumes: ['a=1G', 'b=2G'] });
  t.is(await sizeOf(first, 'b'), 2 * GIB);
  await first.stop();
  const again = await DroverServer.start(t, { ...options, volumes: ['b=5G,c=4096'] });
  t.is(await sizeOf(again, 'b'), 2 * GIB);
  t.is(await sizeOf(again, 'c'), 4096);
  t.regex(again.program.stderr, /a volume exists with another size/);
  t.deepEqual(
    JSON.parse((await volume(again, 'ls', '--json')).stdout).map(
      (one: { name: string }) => one.name,
    ),
    ['a', 'b', 'c'],
  );
});

test.serial('the environment configures what the command line leaves open', async (t) => {
  const { dataDirectory, socketPath } = await optionsFor(t);
  const server = startProgram(t, process.execPath, [MAIN, 'serve'], {
    env: {
      DROVER_DATA: dataDirectory,
      DROVER_NBD: `unix:${socketPath},127.0.0.1:0`,
      DROVER_HTTP: '127.0.0.1:0',
      DROVER_VOLUME: 'x=1G,y=2G',
      DROVER_CACHE: '64M',
      DROVER_LOG_LEVEL: 'silent',
    },
  });
  await server.printed(/^drover is ready$/m, LIMIT_MS);
  const size = await run(LIMIT_MS, 'nbdinfo', ['--size', `nbd+unix:///y?socket=${socketPath}`]);
  t.is(Number(size), 2 * GIB);
  t.regex(server.stdout, /cache 64 MiB/);
  t.is(server.stderr, '');
});

test.serial('a volume grows while attached and shows it at the next connect', async (t) => {
  const server = await DroverServer.start(t, await optionsFor(t));
  t.is(await sizeOf(server, 'disk0'), 10 * GIB);
  const grown = await volume(server, 'resize', 'disk0', '--size', '11G');
  t.is(grown.code, 0, grown.stderr);
  t.is(await sizeOf(server, 'disk0'), 11 * GIB);
  const shrunk = await volume(server, 'resize', 'disk0', '--size', '1G');
  t.is(shrunk.code, 1);
  t.regex(shrunk.stderr, /only grows/);
});

test.serial('a read-only volume is served as one until it is made writable', async (t) => {
  const server = await DroverServer.start(t, await optionsFor(t));
  const made = await volume(server, 'create', 'image', '--size', '1G', '--read-only');
  t.is(made.code, 0, made.stderr);
  const write = ['-f', 'raw', '-c', 'write 0 4k', server.uri('image')];
  t.regex(await run(LIMIT_MS, 'nbdinfo', [server.uri('image')]), /is_read_only: true/);
  t.not((await runToEnd(LIMIT_MS, 'qemu-io', write)).code, 0);
  t.is((await volume(server, 'access', 'image', 'read-write')).code, 0);
  await run(LIMIT_MS, 'qemu-io', write);
});

test.serial('a volume in use is not removed, and by force its client is detached', async (t) => {
  const server = await DroverServer.start(t, await optionsFor(t));
  // Holds a connection until it is cut off.
  const script = `import nbd, time
h = nbd.NBD()
h.connect_uri("${server.uri()}")
print("connected", flush=True)
while True:
    h.pread(512, 0)
    time.sleep(0.05)`;
  const client = startProgram(t, '/usr/bin/python3', ['-c', script]);
  await client.printed(/connected/, LIMIT_MS);
  const refused = await volume(server, 'rm', 'disk0');
  t.is(refused.code, 1);
  t.regex(refused.stderr, /1 client/);
  t.is((await volume(server, 'rm', 'disk0', '--force')).code, 0);
  t.not((await client.ended(LIMIT_MS)).code, 0);
  t.not((await runToEnd(LIMIT_MS, 'nbdinfo', ['--size', server.uri()])).code, 0);
  await server.stop();
});

test.serial('a removed volume stays removed, and another of its name starts empty', async (t) => {
  const options = { ...(await optionsFor(t)), volumes: ['keep=1G'] };
  const server = await DroverServer.start(t, options);
  t.is((await volume(server, 'create', 'a', '--size', '64M')).code, 0);
  const write = ['-f', 'raw', '-c', 'write -P 7 0 1M', '-c', 'flush', server.uri('a')];
  await run(LIMIT_MS, 'qemu-io', write);
  t.is((await volume(server, 'rm', 'a')).code, 0);
  await server.kill();
  const again = await DroverServer.start(t, options);
  t.is((await volume(again, 'show', 'a')).code, 1);
  t.is((await volume(again, 'create', 'a', '--size', '64M')).code, 0);
  const read = ['-f', 'raw', '-c', 'read -P 0 0 64M', again.uri('a')];
  t.notRegex(await run(LIMIT_MS, 'qemu-io', read), /failed/);
});

test.serial('an address in use is one line and exit status 1', async (t) => {
  const { dataDirectory } = await optionsFor(t);
  const holder = createServer();
  await new Promise<void>((resolve) => {
    holder.listen(0, '127.0.0.1', resolve);
  });
  t.teardown(() => holder.close());
  const { port } = holder.address() as { port: number };
  const taken = `127.0.0.1:${port}`;
  const nbd = await failsToStart(t, ['--data', dataDirectory, '--nbd', taken]);
  t.true(nbd.startsWith(`error: cannot listen on ${taken} (--nbd): `), nbd);
  const http = await failsToStart(t, ['--data', dataDirectory, '--http', taken]);
  t.is(http, `error: cannot listen on ${taken} (--http): the address is in use`);
});

test.serial(
  'a data directory in use, and one that cannot be made, are one line and exit status 1',
  async (t) => {
    const options = await optionsFor(t);
    await DroverServer.start(t, options);
    const nbd = ['--nbd', '127.0.0.1:0'];
    const busy = await failsToStart(t, ['--data', options.dataDirectory, ...nbd]);
    t.true(busy.startsWith(`error: cannot open ${options.dataDirectory}/`), busy);
    const impossible = await failsToStart(t, ['--data', `${MAIN}/data`, ...nbd]);
    t.true(impossible.startsWith(`error: cannot open ${MAIN}/data: `), impossible);
  },
);

test.serial(
  'the data directory holds the control plane and the node, each in its place',
  async (t) => {
    const options = await optionsFor(t);
    await mkdir(options.dataDirectory);
    const server = await DroverServer.start(t, options);
    t.deepEqual((await readdir(options.dataDirectory)).sort(), ['control', 'node']);
    await server.stop();
  },
);

test.serial('a reader of the ready text that goes away stops nothing', async (t) => {
  const { dataDirectory, socketPath } = await optionsFor(t);
  const args = ['serve', '--data', dataDirectory, '--nbd', `unix:${socketPath}`];
  const more = ['--http', '127.0.0.1:0', '--cache', '64M'];
  const program = ['--pdeathsig', 'KILL', '--', process.execPath, MAIN];
  const server = spawn('setpriv', [...program, ...args, ...more], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.teardown(() => server.kill('SIGKILL'));
  server.stdout.destroy();
  const uri = `nbd+unix:///disk0?socket=${socketPath}`;
  await eventually('a server without a reader', LIMIT_MS, async () => {
    return (await runToEnd(LIMIT_MS, 'nbdinfo', ['--size', uri])).code === 0;
  });
  server.kill('SIGTERM');
  t.deepEqual(await once(server, 'close'), [0, null]);
});
