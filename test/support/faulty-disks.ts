/**
 * Disks that fail as real ones do, on a kernel that has no device mapper.
 *
 * An nbdkit with a filter stands for the disk, nbdfuse and a loop device bring it to the kernel,
 * and a filesystem on it is given to the server under test.
 */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RunningProgram, run, startProgram } from './child-process.ts';
import { type Mount, mount } from './loop-device.ts';
import { attachBlockDevice } from './nbd-block-device.ts';
import { connectSocket } from './nbd-client.ts';
import { type TestScope, temporaryFolder } from './temp-folder.ts';
import { eventually } from './time-limit.ts';

const LIMIT_MS = 60_000;

async function startNbdkit(
  t: TestScope,
  socketPath: string,
  args: readonly string[],
): Promise<RunningProgram> {
  const nbdkit = startProgram(t, 'nbdkit', ['--foreground', '--unix', socketPath, ...args]);
  await eventually('nbdkit listens', LIMIT_MS, async () => {
    if (nbdkit.status !== undefined) throw nbdkit.failure('ended at once');
    return connectSocket({ kind: 'unix', path: socketPath }).then(
      (socket) => {
        socket.destroy();
        return true;
      },
      () => false,
    );
  });
  return nbdkit;
}

/** A mounted filesystem whose disk answers every write with EIO while it is told to. */
export class FailingDisk {
  readonly mounted: Mount;
  readonly #triggerPath: string;

  static async make(t: TestScope, sizeMiB: number): Promise<FailingDisk> {
    const folder = await temporaryFolder(t);
    const trigger = join(folder, 'fail');
    const socket = join(folder, 'disk');
    await startNbdkit(t, socket, [
      ...['--filter=error', 'memory', `size=${sizeMiB}M`],
      ...['error=EIO', 'error-pwrite-rate=100%', 'error-zero-rate=100%', `error-file=${trigger}`],
    ]);
    const device = await attachBlockDevice(t, `nbd+unix:///?socket=${socket}`, join(folder, 'f'));
    // Without a journal the filesystem stays writable, so that the server meets EIO and not EROFS.
    await run(LIMIT_MS, 'mkfs.ext4', ['-q', '-m', '0', '-O', '^has_journal', device.path]);
    return new FailingDisk(await mount(t, device.path, join(folder, 'm')), trigger);
  }

  private constructor(mounted: Mount, triggerPath: string) {
    this.mounted = mounted;
    this.#triggerPath = triggerPath;
  }

  async failWrites(): Promise<void> {
    await writeFile(this.#triggerPath, '');
  }

  async heal(): Promise<void> {
    await rm(this.#triggerPath);
  }
}

/**
 * A mounted filesystem whose disk has a volatile write cache: what was not flushed to the disk is
 * gone when its power is cut.
 */
export class VolatileDisk {
  readonly #scope: TestScope;
  readonly #folder: string;
  readonly #imagePath: string;
  #nbdkit: RunningProgram | undefined;
  #timesOn = 0;

  static async make(t: TestScope, sizeMiB: number): Promise<VolatileDisk> {
    const folder = await temporaryFolder(t);
    const imagePath = join(folder, 'image');
    await run(LIMIT_MS, 'truncate', ['-s', `${sizeMiB}M`, imagePath]);
    await run(LIMIT_MS, 'mkfs.ext4', ['-q', '-m', '0', imagePath]);
    return new VolatileDisk(t, folder, imagePath);
  }

  private constructor(t: TestScope, folder: string, imagePath: string) {
    this.#scope = t;
    this.#folder = folder;
    this.#imagePath = imagePath;
  }

  /** Gives the disk power and mounts it; the folder is another one each time. */
  async powerOn(): Promise<string> {
    this.#timesOn += 1;
    const at = (name: string): string => join(this.#folder, `${name}${this.#timesOn}`);
    this.#nbdkit = await startNbdkit(this.#scope, at('s'), [
      ...['--filter=cache', 'file', this.#imagePath, 'cache=writeback'],
    ]);
    const uri = `nbd+unix:///?socket=${at('s')}`;
    const device = await attachBlockDevice(this.#scope, uri, at('f'));
    return (await mount(this.#scope, device.path, at('m'))).folder;
  }

  /** From here on the disk answers nothing, and what it had not written is lost. */
  async cutPower(): Promise<void> {
    if (this.#nbdkit === undefined) throw new Error('the disk has no power');
    this.#nbdkit.kill('SIGKILL');
    await this.#nbdkit.ended(LIMIT_MS);
    this.#nbdkit = undefined;
  }
}
