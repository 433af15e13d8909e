/**
 * A block device of the kernel over an NBD server, without the kernel's nbd module:
 * `nbdfuse` shows the export as a file, a loop device makes a disk of the file.
 */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { run, startProgram } from './child-process.ts';
import { attachLoop } from './loop-device.ts';
import type { TestScope } from './temp-folder.ts';
import { eventually } from './time-limit.ts';

const LIMIT_MS = 30_000;

export interface BlockDevice {
  /** `/dev/loopN`. */
  readonly path: string;
}

/** Attaches `uri` as a disk until the test is over; `folder` is made for nbdfuse. */
export async function attachBlockDevice(
  t: TestScope,
  uri: string,
  folder: string,
): Promise<BlockDevice> {
  await mkdir(folder, { recursive: true });
  t.teardown(() => run(LIMIT_MS, 'umount', ['--lazy', folder]).catch(() => {}));
  const fuse = startProgram(t, 'nbdfuse', [folder, uri]);
  const file = join(folder, 'nbd');
  await eventually(`nbdfuse shows ${uri}`, LIMIT_MS, async () => {
    if (fuse.status !== undefined) throw fuse.failure('ended at once');
    return stat(file).then(
      () => true,
      () => false,
    );
  });
  return { path: await attachLoop(t, file) };
}
