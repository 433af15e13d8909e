/**
 * One data directory and the processes that want it.
 */
import { join } from 'node:path';
import test from 'ava';
import { run, runToEnd } from '../support/child-process.ts';
import { DroverServer, serveArguments } from '../support/drover-server.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LIMIT_MS = 30_000;

test.serial(
  'a second server on one data directory exits with 1 and one clear line, and harms nothing',
  async (t) => {
    const folder = await temporaryFolder(t);
    const dataDirectory = join(folder, 'data');
    const first = await DroverServer.start(t, { dataDirectory, socketPath: join(folder, 's1') });
    const second = serveArguments({ dataDirectory, socketPath: join(folder, 's2') });
    const result = await runToEnd(LIMIT_MS, process.execPath, second);
    t.is(result.code, 1, result.stderr);
    t.regex(result.stderr, /in use|locked|another process/i);
    t.true(result.stderr.includes(dataDirectory), result.stderr);
    t.false(/^\s+at /m.test(result.stderr), 'a stack trace is not a clear line');
    await run(LIMIT_MS, 'nbdinfo', ['--size', first.uri()]);
    await first.stop();
  },
);

test.serial('a server that was killed leaves nothing in the way of the next one', async (t) => {
  const folder = await temporaryFolder(t);
  const options = { dataDirectory: join(folder, 'data'), socketPath: join(folder, 's') };
  await (await DroverServer.start(t, options)).kill();
  // The socket file of the dead server is still there.
  const next = await DroverServer.start(t, options);
  t.is((await run(LIMIT_MS, 'nbdinfo', ['--size', next.uri()])).trim(), String(2 ** 30));
  await next.stop();
});

test.serial('a unix socket that another server listens on is left to it', async (t) => {
  const folder = await temporaryFolder(t);
  const socketPath = join(folder, 's');
  const first = await DroverServer.start(t, { dataDirectory: join(folder, 'a'), socketPath });
  const second = serveArguments({ dataDirectory: join(folder, 'b'), socketPath });
  const result = await runToEnd(LIMIT_MS, process.execPath, second);
  t.is(result.code, 1, result.stderr);
  t.true(result.stderr.includes(socketPath), result.stderr);
  await run(LIMIT_MS, 'nbdinfo', ['--size', first.uri()]);
});
