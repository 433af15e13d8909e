/**
 * Loop devices and mounts of a test's own, undone when the test is over, failed or not.
 */
import { mkdir, open } from 'node:fs/promises';
import { run } from './child-process.ts';
import type { TestScope } from './temp-folder.ts';

const COMMAND_LIMIT_MS = 60_000;
const LOOP_TRIES_MAX = 20;

/** A loop device on `file`. Two tests may be given the same free device; the loser asks again. */
export async function attachLoop(t: TestScope, file: string): Promise<string> {
  const attach = async (): Promise<string> =>
    (await run(COMMAND_LIMIT_MS, 'losetup', ['--find', '--show', file])).trim();
  for (let tries = 1; ; tries++) {
    try {
      const device = await attach();
      t.teardown(() => run(COMMAND_LIMIT_MS, 'losetup', ['--detach', device]));
      return device;
    } catch (error) {
      const raced = /busy|No such file/i.test(String(error));
      if (!raced || tries === LOOP_TRIES_MAX) throw error;
    }
  }
}

export interface Mount {
  readonly folder: string;
  unmount(): Promise<void>;
}

/** Mounts `device` on `folder`, which is made if need be. */
export async function mount(
  t: TestScope,
  device: string,
  folder: string,
  options = 'noatime',
): Promise<Mount> {
  await mkdir(folder, { recursive: true });
  await run(COMMAND_LIMIT_MS, 'mount', ['-o', options, device, folder]);
  let mounted = true;
  t.teardown(async () => {
    if (mounted) await run(COMMAND_LIMIT_MS, 'umount', ['--lazy', folder]);
  });
  return {
    folder,
    unmount: async () => {
      await run(COMMAND_LIMIT_MS, 'umount', [folder]);
      mounted = false;
    },
  };
}

/** A file of `sizeBytes` without a block of its own. */
export async function sparseFile(path: string, sizeBytes: number): Promise<void> {
  const file = await open(path, 'w');
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
}

/** An ext4 of `sizeBytes` in a file, mounted on `folder`. */
export async function smallFilesystem(
  t: TestScope,
  imagePath: string,
  folder: string,
  sizeBytes: number,
): Promise<Mount> {
  await sparseFile(imagePath, sizeBytes);
  const device = await attachLoop(t, imagePath);
  await run(COMMAND_LIMIT_MS, 'mkfs.ext4', ['-q', '-m', '0', device]);
  return mount(t, device, folder);
}
