import test, { type ExecutionContext } from 'ava';
import { Registry } from 'prom-client';
import { HttpServer } from '../../../server/http/http-server.ts';
import type {
  ClusterStatus,
  ClusterStatusSource,
  NodeStatus,
} from '../../../server/http/status-api.ts';
import type { VerifyMessage } from '../../../server/http/verify-stream.ts';
import type { VerifyOptions } from '../../../store/replication/verify.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { type CommandResult, runToEnd, startProgram } from '../../support/child-process.ts';
import { MAIN } from '../../support/drover-server.ts';
import { FakeVolumes } from '../http/fake-volumes.ts';

const LIMIT_MS = 30_000;
const GIB = 1024 ** 3;

const NODE: NodeStatus = {
  ...{ nodeId: 'store1', zone: 'a', address: '10.0.0.1:9810', state: 'up', reason: null },
  ...{ capacityBytes: 100 * GIB, liveBytes: 10 * GIB, freeBytes: 80 * GIB, objectCount: 2560 },
  lastSeen: '2030-01-01T00:00:00.000Z',
};
const DOWN = { ...NODE, nodeId: 'store2', state: 'unreachable', reason: 'connection refused' };
const STATUS: ClusterStatus = {
  volumes: [
    {
      ...{ id: 1, name: 'disk0', sizeBytes: 10 * GIB, holder: 'gateway1', epoch: 3 },
      ...{ copies: 4, minInSync: 2, inSyncCopies: 2, objectsBehind: 125, areWritesServed: true },
      replicas: [
        {
          ...{ nodeId: 'store1', state: 'inSync', reason: '', objectsBehind: 0 },
          ...{ bytesBehind: 0, resync: null },
        },
        {
          ...{ nodeId: 'store2', state: 'copying', reason: 'killed', objectsBehind: 120 },
          ...{ bytesBehind: 503316480, resync: { bytesPerSecond: 83886080, secondsLeft: 6 } },
        },
        {
          ...{ nodeId: 'store3', state: 'out', reason: 'no space', objectsBehind: 5 },
          ...{ bytesBehind: 20971520, resync: null },
        },
      ],
    },
  ],
  nodes: [NODE, DOWN],
};

class FakeStatus implements ClusterStatusSource {
  report: VerifyMessage = { nodeIds: ['a', 'b'], objects: 7, differences: [], differenceCount: 0 };
  readonly asked: string[] = [];
  status = async (): Promise<ClusterStatus> => STATUS;
  nodes = (): readonly NodeStatus[] => STATUS.nodes;
  /** What a comparison does before its report. */
  during: (options: VerifyOptions) => Promise<void> = async () => undefined;
  verify = async (name: string, options: VerifyOptions): Promise<VerifyMessage> => {
    this.asked.push(`${name} ${options.isDeep}`);
    await this.during(options);
    return this.report;
  };
}

interface Scene {
  readonly status: FakeStatus;
  readonly env: Record<string, string>;
  drover(...args: string[]): Promise<CommandResult>;
}

async function serve(t: ExecutionContext): Promise<Scene> {
  t.timeout(120_000);
  const status = new FakeStatus();
  const volumes = new FakeVolumes();
  const server = new HttpServer({
    health: { failure: () => undefined, notReady: () => undefined },
    metrics: new Registry(),
    volumes: () => volumes,
    status: () => status,
    log: { error: (_fields, message) => t.log(message) },
  });
  const { host, port } = await server.listen({ host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  const env = { DROVER_SERVER: `http://${host}:${port}` };
  const drover = (...args: string[]) =>
    runToEnd(LIMIT_MS, process.execPath, [MAIN, ...args], { env });
  return { status, env, drover };
}

test('status shows copies, the progress of a resync, and nodes', async (t) => {
  const { drover } = await serve(t);
  const { code, stdout } = await drover('status');
  t.is(code, 0);
  t.regex(stdout, /^disk0 +10 GiB +gateway1 +2 of 4 +125 +served +store1; store2 copying/m);
  t.regex(
    stdout,
    /store2 copying, 120 behind, 80 MiB\/s, 6s left; store3 out \(no space\), 5 behind/,
  );
  t.regex(stdout, /^store2 +a +unreachable \(connection refused\)/m);
  t.deepEqual(JSON.parse((await drover('status', '--json')).stdout), STATUS);
});

test('node ls shows space and state', async (t) => {
  const { drover } = await serve(t);
  t.regex(
    (await drover('node', 'ls')).stdout,
    /^store1 +a +up +100 GiB +10 GiB +80 GiB +2560 +10\.0\.0\.1:9810/m,
  );
  t.deepEqual(JSON.parse((await drover('node', 'ls', '--json')).stdout), STATUS.nodes);
});

test('--watch prints again and again', async (t) => {
  const { env } = await serve(t);
  const args = [MAIN, 'node', 'ls', '--watch'];
  const watch = startProgram(t, process.execPath, args, { env });
  await watch.printed(/(?:NODE[\s\S]*){3}/, LIMIT_MS);
  t.is(watch.status, undefined);
});

test('verify exits with 0 when all copies are identical', async (t) => {
  const { status, drover } = await serve(t);
  const same = await drover('volume', 'verify', 'disk0');
  t.is(same.code, 0, same.stderr);
  t.is(same.stdout, 'compared 7 objects on a, b: all copies are identical\n');
  t.is((await drover('volume', 'verify', 'disk0', '--deep')).code, 0);
  t.deepEqual(status.asked, ['disk0 false', 'disk0 true']);
});

test('verify exits with 1 and lists the differences', async (t) => {
  const { status, drover } = await serve(t);
  const differences = [{ objectIndex: 5, nodeId: 'b', what: 'block 3 differs from node a' }];
  status.report = { ...status.report, differences, differenceCount: 4 };
  const { code, stdout, stderr } = await drover('volume', 'verify', 'disk0');
  t.is(code, 1);
  t.regex(stdout, /4 differences\n {2}object 5 on b: block 3 differs from node a\n {2}and 3 more/);
  t.is(stderr, 'error: the copies of disk0 differ\n');
});

test('a comparison that takes its time tells on a terminal how far it is', async (t) => {
  const { status, env } = await serve(t);
  const finish = Promise.withResolvers<void>();
  status.during = async ({ onProgress }) => {
    onProgress?.({ objects: 250, objectsTotal: 1000, differenceCount: 2 });
    await finish.promise;
  };
  const command = [process.execPath, MAIN, 'volume', 'verify', 'disk0'].join(' ');
  const args = ['--quiet', '--return', '--command', command, '/dev/null'];
  const verify = startProgram(t, 'script', args, { env });
  await verify.printed(/compared 250 of 1000 objects \(25%\), 2 differences, .* left/, LIMIT_MS);
  finish.resolve();
  await verify.printed(/all copies are identical/, LIMIT_MS);
  t.is((await verify.ended(LIMIT_MS)).code, 0);
});

test('a comparison that fails halfway says why', async (t) => {
  const { status, drover } = await serve(t);
  status.during = async ({ onProgress }) => {
    onProgress?.({ objects: 0, objectsTotal: 9, differenceCount: 0 });
    throw new DroverError('fenced', 'the lease is over');
  };
  const { code, stdout, stderr } = await drover('volume', 'verify', 'disk0');
  t.deepEqual([code, stdout, stderr], [1, '', 'error: the lease is over\n']);
});

test('what keeps a comparison from beginning has its own status', async (t) => {
  const { status, env } = await serve(t);
  status.during = async () => {
    throw new DroverError('notFound', 'there is no volume x');
  };
  const url = `${env['DROVER_SERVER']}/v1/volumes/x/verify`;
  const response = await fetch(url, { method: 'POST' });
  t.is(response.status, 404);
  t.like(await response.json(), { error: { kind: 'notFound' } });
});

test('a comparison ends when nobody listens any more', async (t) => {
  const { status, env } = await serve(t);
  const ended = Promise.withResolvers<void>();
  status.during = async ({ onProgress, signal }) => {
    onProgress?.({ objects: 0, objectsTotal: 9, differenceCount: 0 });
    signal!.addEventListener('abort', () => ended.resolve());
    await ended.promise;
  };
  const url = `${env['DROVER_SERVER']}/v1/volumes/disk0/verify`;
  const listener = new AbortController();
  const response = await fetch(url, { method: 'POST', signal: listener.signal });
  t.is(response.status, 200);
  listener.abort();
  await t.notThrowsAsync(ended.promise);
});
