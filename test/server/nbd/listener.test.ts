import { readFile, rename, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { formatAddress, Listener, type NbdAddress } from '../../../server/nbd/listener.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { type TestScope, temporaryFolder } from '../../support/temp-folder.ts';

async function open(t: TestScope, address: NbdAddress): Promise<Listener> {
  const listener = await Listener.open(
    address,
    (accepted) => accepted.destroy(),
    () => {},
  );
  t.teardown(() => listener.close().catch(() => {}));
  return listener;
}

const isBusy = (error: unknown) => isDroverError(error, 'busy');

function reaches(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ path });
    probe.once('connect', () => resolve(true));
    probe.once('error', () => resolve(false));
  });
}

test('port 0 becomes the port that was chosen', async (t) => {
  const { address } = await open(t, { host: '127.0.0.1', port: 0 });
  t.true('port' in address && address.port > 0 && address.host === '127.0.0.1');
});

test('a port in use is busy', async (t) => {
  const { address } = await open(t, { host: '127.0.0.1', port: 0 });
  await t.throwsAsync(open(t, address), { any: true, message: /cannot listen on 127\.0\.0\.1:/ });
  const error = await open(t, address).catch((caught: unknown) => caught);
  t.true(isBusy(error));
});

test('a unix socket that nobody listens on is taken over', async (t) => {
  const path = join(await temporaryFolder(t), 'nbd');
  // A server that was killed leaves its path behind; renaming hides it from the one that closes.
  const dead = await open(t, { path: `${path}2` });
  await rename(`${path}2`, path);
  await dead.close();
  await open(t, { path });
  t.true(await reaches(path));
});

test('a unix socket that somebody listens on is busy and stays', async (t) => {
  const path = join(await temporaryFolder(t), 'nbd');
  await open(t, { path });
  const error = await open(t, { path }).catch((caught: unknown) => caught);
  t.true(isBusy(error));
  t.true(await reaches(path));
});

test('a file that is no socket is not removed', async (t) => {
  const path = join(await temporaryFolder(t), 'nbd');
  await writeFile(path, 'precious');
  const error = await open(t, { path }).catch((caught: unknown) => caught);
  t.true(isBusy(error));
  t.is(await readFile(path, 'utf8'), 'precious');
});

test('an address that cannot be had is unavailable', async (t) => {
  const path = join(await temporaryFolder(t), 'missing', 'nbd');
  const error = await open(t, { path }).catch((caught: unknown) => caught);
  t.true(isDroverError(error, 'unavailable'));
});

test('addresses are written as on the command line', (t) => {
  t.is(formatAddress({ host: '127.0.0.1', port: 10809 }), '127.0.0.1:10809');
  t.is(formatAddress({ host: '::1', port: 10809 }), '[::1]:10809');
  t.is(formatAddress({ path: '/run/nbd' }), 'unix:/run/nbd');
});
