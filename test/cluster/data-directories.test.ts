/**
 * `drover serve` with three data directories, each of which may fail.
 */
import { cp, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ApiClient } from '../../server/cli/api-client.ts';
import type { ClusterStatus } from '../../server/http/status-api.ts';
import { DroverServer } from '../support/drover-server.ts';
import { NbdClient as Client, FLAG_FUA, type NbdClient } from '../support/nbd-client.ts';
import { stampedBytes, stampOf } from '../support/stamped-disk-model.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { eventually, withinTime } from '../support/time-limit.ts';

const BLOCK = 4096;
const ANSWER_LIMIT_MS = 20_000;
const WHOLE_LIMIT_MS = 60_000;
const BLOCKS = 1024;

class Scene {
  readonly t: ExecutionContext;
  readonly directories: readonly string[];
  readonly folder: string;
  server!: DroverServer;
  client!: NbdClient;

  static async make(t: ExecutionContext): Promise<Scene> {
    t.timeout(200_000);
    return new Scene(t, await temporaryFolder(t));
  }

  private constructor(t: ExecutionContext, folder: string) {
    this.t = t;
    this.folder = folder;
    this.directories = ['a', 'b', 'c'].map((name) => join(folder, name));
  }

  async start(): Promise<void> {
    await this.startServer();
    this.client = await Client.attach(this.server.unixAddress, 'disk0');
  }

  async startServer(): Promise<void> {
    const [first, ...others] = this.directories as [string, ...string[]];
    this.server = await DroverServer.start(this.t, {
      dataDirectory: first,
      socketPath: join(this.folder, 's'),
      volumes: ['disk0=64M'],
      cache: '64M',
      args: others.flatMap((directory) => ['--data', directory]),
    });
  }

  async stop(): Promise<void> {
    await this.client.disconnect();
    await this.server.stop();
  }

  async write(stamp: number): Promise<void> {
    const bytes = stampedBytes(0, BLOCKS, stamp);
    await withinTime('a write', ANSWER_LIMIT_MS, this.client.write(0, bytes, FLAG_FUA));
  }

  async reads(stamp: number): Promise<void> {
    const bytes = await withinTime('a read', ANSWER_LIMIT_MS, this.client.read(0, BLOCKS * BLOCK));
    for (let block = 0; block < BLOCKS; block++) {
      const found = stampOf(block, bytes.subarray(block * BLOCK, (block + 1) * BLOCK));
      if (found !== stamp) throw new Error(`block ${block} holds ${found}, not ${stamp}`);
    }
  }

  async status(): Promise<ClusterStatus> {
    return (await fetch(`${this.server.httpUrl}/v1/status`)).json() as Promise<ClusterStatus>;
  }

  async inSync(copies: number): Promise<void> {
    await eventually(`${copies} copies in sync`, WHOLE_LIMIT_MS, async () => {
      const volume = (await this.status()).volumes[0]!;
      return volume.inSyncCopies === copies && (copies < 3 || volume.objectsBehind === 0);
    });
  }

  async identical(): Promise<void> {
    await this.inSync(3);
    const report = await new ApiClient(new URL(this.server.httpUrl)).verify('disk0', true);
    this.t.is(report.differenceCount, 0);
    this.t.is(report.nodeIds.length, 3);
  }
}

test.serial('a directory that is gone at start is filled again', async (t) => {
  const scene = await Scene.make(t);
  await scene.start();
  await scene.write(1);
  await scene.stop();
  await rm(scene.directories[1]!, { recursive: true });
  await scene.start();
  await scene.reads(1);
  await scene.write(2);
  await scene.identical();
  await scene.reads(2);
  await scene.stop();
});

test.serial('a directory that cannot be used at start is left out, and comes back', async (t) => {
  const scene = await Scene.make(t);
  const [broken] = scene.directories as [string];
  await scene.start();
  await scene.write(1);
  await scene.stop();
  await rename(broken, `${broken}.away`);
  await writeFile(broken, 'a file where a directory should be');
  await scene.start();
  await scene.reads(1);
  await scene.write(2);
  await scene.inSync(2);
  const down = (await scene.status()).nodes.find((node) => node.address === broken);
  t.is(down?.state, 'down');
  t.is((await fetch(`${scene.server.httpUrl}/readyz`)).status, 200);
  // What is put back is older than what was written since.
  await rm(broken);
  await rename(`${broken}.away`, broken);
  await scene.identical();
  await scene.reads(2);
  await scene.stop();
});

test.serial('a directory that vanishes while it is used is left out', async (t) => {
  const scene = await Scene.make(t);
  await scene.start();
  await scene.write(1);
  await rename(scene.directories[2]!, `${scene.directories[2]}.away`);
  // New segments are needed at some time; until then its open files go on working.
  for (let stamp = 2; stamp < 60; stamp++) await scene.write(stamp);
  await scene.inSync(2);
  await scene.reads(59);
  await mkdir(scene.directories[2]!);
  await scene.stop();
  t.is(scene.server.program.status?.code, 0);
});

test.serial(
  'a node that lost its data, and kept its control records, is filled again',
  async (t) => {
    const scene = await Scene.make(t);
    await scene.start();
    await scene.write(1);
    await scene.stop();
    await rm(join(scene.directories[1]!, 'node'), { recursive: true });
    await scene.start();
    await scene.reads(1);
    await scene.identical();
    await scene.stop();
  },
);

test.serial('an old copy is not shown, although no other copy can be reached', async (t) => {
  const scene = await Scene.make(t);
  const [old, ...others] = scene.directories.map((directory) => join(directory, 'node')) as [
    string,
    ...string[],
  ];
  await scene.start();
  await scene.write(1);
  await scene.stop();
  await cp(old, `${old}.copy`, { recursive: true });
  await scene.start();
  await scene.write(2);
  await scene.stop();
  await rm(old, { recursive: true });
  await rename(`${old}.copy`, old);
  for (const other of others) await rename(other, `${other}.away`);
  await scene.startServer();
  await t.throwsAsync(Client.attach(scene.server.unixAddress, 'disk0'));
  await scene.server.stop();
  for (const other of others) {
    await rm(other, { recursive: true });
    await rename(`${other}.away`, other);
  }
  await scene.start();
  await scene.reads(2);
  await scene.identical();
  await scene.stop();
});
