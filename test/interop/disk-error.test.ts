/**
 * A disk below the server that answers writes with EIO.
 */
import { join } from 'node:path';
import test from 'ava';
import { DroverServer } from '../support/drover-server.ts';
import { FailingDisk } from '../support/faulty-disks.ts';
import { FLAG_FUA, NbdClient, NbdReplyError } from '../support/nbd-client.ts';
import { stampedBytes, stampOf } from '../support/stamped-disk-model.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { eventually, withinTime } from '../support/time-limit.ts';

const LIMIT_MS = 30_000;
const BLOCK_BYTES = 4096;

test.serial(
  'after a write error nothing is acknowledged as durable, and what was flushed stays',
  async (t) => {
    t.timeout(180_000);
    const folder = await temporaryFolder(t);
    const disk = await FailingDisk.make(t, 1024);
    const options = {
      dataDirectory: join(disk.mounted.folder, 'data'),
      socketPath: join(folder, 's'),
      volumes: ['disk0=64M'],
      cache: '64M',
    };
    const server = await DroverServer.start(t, options);
    const client = await NbdClient.attach(server.unixAddress, 'disk0');
    const refused = async (what: string, operation: Promise<void>): Promise<void> => {
      const answer = withinTime(what, LIMIT_MS, operation);
      await t.throwsAsync(answer, { instanceOf: NbdReplyError }, `${what} was acknowledged`);
    };

    await client.write(0, stampedBytes(0, 64, 1));
    await client.flush();
    await disk.failWrites();
    await client.write(0, stampedBytes(0, 1, 2)).catch(() => {});
    await refused('a flush over a failing disk', client.flush());
    await refused('a second flush', client.flush());
    await refused('a FUA write', client.write(BLOCK_BYTES, stampedBytes(1, 1, 3), FLAG_FUA));
    const flushed = await withinTime(
      'a read',
      LIMIT_MS,
      client.read(10 * BLOCK_BYTES, BLOCK_BYTES),
    );
    t.is(stampOf(10, flushed), 1);
    await eventually('/healthz tells of the failure', LIMIT_MS, async () => {
      return (await fetch(`${server.httpUrl}/healthz`)).status === 503;
    });
    t.is(server.program.status, undefined, 'the process must live on to serve reads');

    await server.kill();
    await disk.heal();
    const again = await DroverServer.start(t, options);
    const after = await NbdClient.attach(again.unixAddress, 'disk0');
    const bytes = await after.read(0, 64 * BLOCK_BYTES);
    for (let block = 0; block < 64; block++) {
      const stamp = stampOf(block, bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES));
      t.true(stamp === 1 || (block === 0 && stamp === 2) || (block === 1 && stamp === 3));
    }
    await after.write(0, stampedBytes(0, 1, 4), FLAG_FUA);
    after.destroy();
    await again.stop();
  },
);

test.serial(
  'a clean stop over a failing disk exits with 1 and says that data was not written',
  async (t) => {
    t.timeout(180_000);
    const folder = await temporaryFolder(t);
    const disk = await FailingDisk.make(t, 1024);
    const server = await DroverServer.start(t, {
      dataDirectory: join(disk.mounted.folder, 'data'),
      socketPath: join(folder, 's'),
      volumes: ['disk0=64M'],
      cache: '64M',
    });
    const client = await NbdClient.attach(server.unixAddress, 'disk0');
    await disk.failWrites();
    await client.write(0, stampedBytes(0, 1, 1));
    client.destroy();
    server.program.kill('SIGTERM');
    const status = await server.program.ended(LIMIT_MS * 2);
    t.is(status.code, 1, server.program.stderr);
    await disk.heal();
  },
);
