import test, { type ExecutionContext } from 'ava';
import { Registry } from 'prom-client';
import { HttpServer } from '../../../server/http/http-server.ts';
import { HTTP_BODY_BYTES_MAX } from '../../../server/http/limits.ts';
import { DroverError, type DroverErrorKind } from '../../../store/runtime/drover-error.ts';
import { FakeVolumes } from './fake-volumes.ts';

interface Scene {
  readonly url: string;
  readonly volumes: FakeVolumes;
  readonly health: { failed: string | undefined; waiting: string | undefined };
  readonly logged: string[];
}

async function serve(t: ExecutionContext): Promise<Scene> {
  const volumes = new FakeVolumes();
  const health = { failed: undefined, waiting: undefined } as Scene['health'];
  const logged: string[] = [];
  const server = new HttpServer({
    health: { failure: () => health.failed, notReady: () => health.waiting },
    metrics: new Registry(),
    volumes: () => volumes,
    log: { error: (_fields, message) => logged.push(message) },
  });
  const { host, port } = await server.listen({ host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  return { url: `http://${host}:${port}`, volumes, health, logged };
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function ask(url: string, method = 'GET', body?: unknown): Promise<Answer> {
  const json = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(url, {
    method,
    ...(body === undefined ? {} : { body: json, headers: { 'content-type': 'application/json' } }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}

test('a failed part makes the process unhealthy, with the reason', async (t) => {
  const { url, health } = await serve(t);
  t.deepEqual(await ask(`${url}/healthz`), { status: 200, body: { status: 'ok' } });
  health.failed = 'write error';
  const failed = { status: 503, body: { status: 'failed', reason: 'write error' } };
  t.deepEqual(await ask(`${url}/healthz`), failed);
  t.is((await ask(`${url}/readyz`)).status, 503);
});

test('while starting and stopping it is alive, not ready, and leaves the volumes alone', async (t) => {
  const { url, health } = await serve(t);
  t.is((await ask(`${url}/readyz`)).status, 200);
  health.waiting = 'stopping';
  t.is((await ask(`${url}/healthz`)).status, 200);
  t.deepEqual(await ask(`${url}/readyz`), {
    status: 503,
    body: { status: 'not ready', reason: 'stopping' },
  });
  const refused = { error: { kind: 'unavailable', message: 'stopping' } };
  t.deepEqual(await ask(`${url}/v1/volumes`), { status: 503, body: refused });
});

test('a volume is made, seen, grown and removed', async (t) => {
  const { url, volumes } = await serve(t);
  const made = await ask(`${url}/v1/volumes`, 'POST', { name: 'a', sizeBytes: 8192 });
  t.is(made.status, 201);
  t.like(made.body, { name: 'a', sizeBytes: 8192 });
  t.deepEqual((await ask(`${url}/v1/volumes`)).body, { volumes: volumes.list() });
  t.like((await ask(`${url}/v1/volumes/a`)).body, { name: 'a' });
  const grown = await ask(`${url}/v1/volumes/a`, 'PATCH', { sizeBytes: 16384 });
  t.like(grown.body, { sizeBytes: 16384 });
  t.deepEqual(await ask(`${url}/v1/volumes/a`, 'DELETE'), { status: 204, body: undefined });
  t.is((await ask(`${url}/v1/volumes/a`)).status, 404);
});

test('a volume is made read-only, and writable again', async (t) => {
  const { url } = await serve(t);
  const body = { name: 'a', sizeBytes: 4096, isReadOnly: true };
  t.like((await ask(`${url}/v1/volumes`, 'POST', body)).body, { isReadOnly: true });
  const writable = await ask(`${url}/v1/volumes/a`, 'PATCH', { isReadOnly: false });
  t.like(writable, { status: 200, body: { isReadOnly: false } });
  for (const change of [{}, { isReadOnly: 1 }, { isReadOnly: true, sizeBytes: 8192 }]) {
    t.is((await ask(`${url}/v1/volumes/a`, 'PATCH', change)).status, 400, JSON.stringify(change));
  }
});

test('a volume in use is removed only by force', async (t) => {
  const { url, volumes } = await serve(t);
  volumes.put({ name: 'a', clientCount: 2 });
  t.is((await ask(`${url}/v1/volumes/a`, 'DELETE')).status, 409);
  t.is((await ask(`${url}/v1/volumes/a?force=false`, 'DELETE')).status, 409);
  t.is((await ask(`${url}/v1/volumes/a?force=true`, 'DELETE')).status, 204);
});

test('a bad body is refused with the field and what is allowed', async (t) => {
  const { url } = await serve(t);
  const cases: [body: unknown, message: RegExp][] = [
    [{ name: '../x', sizeBytes: 4096 }, /^name: a letter or digit/],
    [{ name: 'a' }, /^sizeBytes: /],
    [{ name: 'a', sizeBytes: -1 }, /^sizeBytes: /],
    [{ name: 'a', sizeBytes: 1.5 }, /^sizeBytes: /],
    [{ name: 'a', sizeBytes: 4096, objectBytes: 5 }, /^objectBytes: a power of two/],
    [{ name: 'a', sizeBytes: 4096, more: 1 }, /more/],
    ['{', /./],
    ['[]', /./],
  ];
  for (const [body, message] of cases) {
    const answer = await ask(`${url}/v1/volumes`, 'POST', body);
    const { error } = answer.body as { error: { kind: string; message: string } };
    t.is(answer.status, 400, JSON.stringify(body));
    t.is(error.kind, 'invalid');
    t.regex(error.message, message);
  }
  t.is((await ask(`${url}/v1/volumes/a?force=perhaps`, 'DELETE')).status, 400);
});

test('each kind of error has its status', async (t) => {
  const { url, volumes } = await serve(t);
  const statuses: Record<DroverErrorKind, number> = {
    notFound: 404,
    exists: 409,
    busy: 409,
    invalid: 400,
    outOfSpace: 507,
    fenced: 409,
    conflict: 409,
    corrupt: 500,
    unavailable: 503,
    readOnly: 403,
  };
  for (const [kind, status] of Object.entries(statuses)) {
    volumes.nextError = new DroverError(kind as DroverErrorKind, 'why', new Error('cause'));
    const body = { error: { kind, message: 'why: cause' } };
    t.deepEqual(await ask(`${url}/v1/volumes`), { status, body }, kind);
  }
});

test('an unexpected error is logged and tells the client nothing', async (t) => {
  const { url, volumes, logged } = await serve(t);
  volumes.nextError = new TypeError('secret');
  const body = { error: { kind: 'internal', message: 'internal error' } };
  t.deepEqual(await ask(`${url}/v1/volumes`), { status: 500, body });
  t.deepEqual(logged, ['HTTP request failed']);
});

test('a body above the limit is refused', async (t) => {
  const { url } = await serve(t);
  const answer = await ask(`${url}/v1/volumes`, 'POST', { name: 'a'.repeat(HTTP_BODY_BYTES_MAX) });
  t.is(answer.status, 413);
});

test('an unknown path is answered as every error is', async (t) => {
  const { url } = await serve(t);
  const answer = await ask(`${url}/nothing`);
  t.is(answer.status, 404);
  t.like(answer.body, { error: { kind: 'notFound' } });
});
