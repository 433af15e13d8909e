/**
 * Filesystems of the Linux kernel on a disk of Drover: nbdfuse shows it as a file, a loop device
 * makes a block device of it.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { run } from '../support/child-process.ts';
import { DroverServer, type ServeOptions } from '../support/drover-server.ts';
import { mount } from '../support/loop-device.ts';
import { attachBlockDevice, type BlockDevice } from '../support/nbd-block-device.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LIMIT_MS = 120_000;

/** A thousand small files, some larger ones and symbolic links, in every checkout. */
const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));
const TREES = ['ajv', 'fastify', 'typescript', '.bin'];

interface Filesystem {
  readonly name: string;
  readonly make: readonly string[];
  readonly check: readonly string[];
}

const FILESYSTEMS: readonly Filesystem[] = [
  { name: 'ext4', make: ['mkfs.ext4', '-q'], check: ['e2fsck', '-f', '-n'] },
  { name: 'xfs', make: ['mkfs.xfs', '-q'], check: ['xfs_repair', '-n'] },
];

interface Scene {
  readonly folder: string;
  readonly options: ServeOptions;
  start(): Promise<DroverServer>;
}

async function prepare(t: ExecutionContext): Promise<Scene> {
  t.timeout(280_000);
  const folder = await temporaryFolder(t);
  const options = {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=1G'],
    cache: '64M',
  };
  return { folder, options, start: () => DroverServer.start(t, options) };
}

function checked(filesystem: Filesystem, device: BlockDevice): Promise<string> {
  const [command, ...args] = filesystem.check;
  return run(LIMIT_MS, command!, [...args, device.path]);
}

async function format(filesystem: Filesystem, device: BlockDevice): Promise<void> {
  const [command, ...args] = filesystem.make;
  await run(LIMIT_MS, command!, [...args, device.path]);
}

async function copyTrees(to: string): Promise<void> {
  await mkdir(to);
  await run(LIMIT_MS, 'cp', ['-a', ...TREES.map((tree) => join(MODULES, tree)), to]);
}

/** Throws, naming the files, if a copy differs from its original in any byte. */
async function compareTrees(copy: string): Promise<void> {
  for (const tree of TREES) {
    const compare = ['-r', '--no-dereference', join(MODULES, tree), join(copy, tree)];
    await run(LIMIT_MS, 'diff', compare);
  }
}

for (const filesystem of FILESYSTEMS) {
  test.serial(`a tree copied onto ${filesystem.name} is the same after remounting`, async (t) => {
    const { folder, start } = await prepare(t);
    const server = await start();
    const device = await attachBlockDevice(t, server.uri(), join(folder, 'fuse'));
    await format(filesystem, device);
    const options = 'noatime,discard';
    const first = await mount(t, device.path, join(folder, 'mnt'), options);
    await copyTrees(join(first.folder, 'copy'));
    await copyTrees(join(first.folder, 'gone'));
    await run(LIMIT_MS, 'rm', ['-r', join(first.folder, 'gone')]);
    await run(LIMIT_MS, 'fstrim', [first.folder]);
    await first.unmount();
    await checked(filesystem, device);
    const second = await mount(t, device.path, join(folder, 'mnt'), options);
    await compareTrees(join(second.folder, 'copy'));
    await second.unmount();
    await checked(filesystem, device);
    t.pass();
  });

  test.serial(`what was synced on ${filesystem.name} is there after SIGKILL`, async (t) => {
    const { folder, start } = await prepare(t);
    const killed = await start();
    const before = await attachBlockDevice(t, killed.uri(), join(folder, 'fuse1'));
    await format(filesystem, before);
    const first = await mount(t, before.path, join(folder, 'mnt1'));
    await copyTrees(join(first.folder, 'copy'));
    await run(LIMIT_MS, 'sync', ['--file-system', first.folder]);
    // Not synced: it may be missing afterwards, whole or in part, and must do no harm.
    await copyTrees(join(first.folder, 'unsynced'));
    await killed.kill();

    const server = await start();
    const after = await attachBlockDevice(t, server.uri(), join(folder, 'fuse2'));
    await mkdir(join(folder, 'mnt2'));
    // xfs refuses the same UUID twice, and the dead mount still has it.
    const options = filesystem.name === 'xfs' ? 'nouuid' : 'noatime';
    const second = await mount(t, after.path, join(folder, 'mnt2'), options);
    await compareTrees(join(second.folder, 'copy'));
    await second.unmount();
    await checked(filesystem, after);
    t.pass();
  });
}
