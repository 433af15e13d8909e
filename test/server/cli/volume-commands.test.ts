import test, { type ExecutionContext } from 'ava';
import { Registry } from 'prom-client';
import { HttpServer } from '../../../server/http/http-server.ts';
import { type CommandResult, runToEnd } from '../../support/child-process.ts';
import { MAIN } from '../../support/drover-server.ts';
import { FakeVolumes } from '../http/fake-volumes.ts';

const LIMIT_MS = 30_000;

interface Scene {
  readonly url: string;
  readonly server: HttpServer;
  readonly volumes: FakeVolumes;
  drover(...args: string[]): Promise<CommandResult>;
}

async function serve(t: ExecutionContext): Promise<Scene> {
  const volumes = new FakeVolumes();
  const server = new HttpServer({
    health: { failure: () => undefined, notReady: () => undefined },
    metrics: new Registry(),
    volumes: () => volumes,
    log: { error: (_fields, message) => t.log(message) },
  });
  const { host, port } = await server.listen({ host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  const url = `http://${host}:${port}`;
  const drover = (...args: string[]) =>
    runToEnd(LIMIT_MS, process.execPath, [MAIN, 'volume', ...args], {
      env: { DROVER_SERVER: url },
    });
  return { url, server, volumes, drover };
}

test('a volume is made with the sizes given', async (t) => {
  const { volumes, drover } = await serve(t);
  const made = await drover('create', 'a', '--size', '20G', '--object-size', '1M');
  t.is(made.code, 0, made.stderr);
  t.like(volumes.show('a'), { sizeBytes: 20 * 1024 ** 3, objectBytes: 1024 ** 2 });
  t.regex(made.stdout, /^NAME.*\na +20 GiB +1 MiB/);
});

test('a list is a table without lines, as wide as its content', async (t) => {
  const { volumes, drover } = await serve(t);
  volumes.put({ name: 'disk0', sizeBytes: 10 * 1024 ** 3, clientCount: 2, isAttached: true });
  volumes.put({ name: 'b', sizeBytes: 4096, isReadOnly: true });
  t.deepEqual((await drover('ls')).stdout.split('\n'), [
    'NAME     SIZE  OBJECTS  ACCESS      USE          DIRTY',
    'disk0  10 GiB    4 MiB  read-write  2 connected    0 B',
    'b       4 KiB    4 MiB  read-only   idle           0 B',
    '',
  ]);
});

test('--json prints what the API answered', async (t) => {
  const { volumes, drover } = await serve(t);
  const a = volumes.put({ name: 'a' });
  t.deepEqual(JSON.parse((await drover('ls', '--json')).stdout), [a]);
  t.deepEqual(JSON.parse((await drover('show', 'a', '--json')).stdout), a);
});

test('a volume grows', async (t) => {
  const { volumes, drover } = await serve(t);
  volumes.put({ name: 'a', sizeBytes: 4096 });
  t.is((await drover('resize', 'a', '--size', '1G')).code, 0);
  t.is(volumes.show('a').sizeBytes, 1024 ** 3);
});

test('a volume is made read-only, and writable again', async (t) => {
  const { volumes, drover } = await serve(t);
  const made = await drover('create', 'a', '--size', '1G', '--read-only');
  t.regex(made.stdout, /^a +1 GiB +4 MiB +read-only/m);
  t.is((await drover('access', 'a', 'read-write')).code, 0);
  t.false(volumes.show('a').isReadOnly);
  t.is((await drover('access', 'a', 'read-only')).code, 0);
  t.true(volumes.show('a').isReadOnly);
  t.is((await drover('access', 'a', 'perhaps')).code, 2);
});

test('a volume in use is removed by force only', async (t) => {
  const { volumes, drover } = await serve(t);
  volumes.put({ name: 'a', clientCount: 1 });
  const refused = await drover('rm', 'a');
  t.deepEqual([refused.code, refused.stderr], [1, 'error: 1 clients\n']);
  t.is((await drover('rm', 'a', '--force')).code, 0);
  t.is(volumes.volumes.size, 0);
});

test('a refusal is one line on stderr and exit status 1', async (t) => {
  const { drover } = await serve(t);
  const result = await drover('show', 'nosuch');
  t.deepEqual([result.code, result.stdout], [1, '']);
  t.is(result.stderr, 'error: no volume nosuch\n');
});

test('a server that does not answer is named', async (t) => {
  const { url, server, drover } = await serve(t);
  await server.close();
  const result = await drover('ls');
  t.is(result.code, 1);
  t.true(result.stderr.startsWith(`error: no answer from ${url}: `), result.stderr);
  t.regex(result.stderr, /ECONNREFUSED.*\n$/);
});

test('a server that is something else is said so', async (t) => {
  const { volumes, drover } = await serve(t);
  volumes.volumes.set('a', { name: 'a' } as never);
  const result = await drover('show', 'a');
  t.deepEqual([result.code, result.stdout], [1, '']);
  t.regex(result.stderr, /^error: \S+ does not answer as Drover does\n$/);
});
