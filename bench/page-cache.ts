/**
 * The kernel's page cache before a cold row: the same for every server.
 *
 * `warm`: all that the server has on disk was read once, so that the row compares roads from the
 * page cache to the client, not luck with what the kernel still had. `dropped`: nothing of it is in
 * memory, and the disk is read; needs root.
 */
import fs from 'node:fs';
import { runCommand } from './process.ts';

export const PAGE_CACHE_STATES = ['warm', 'dropped'] as const;
export type PageCacheState = (typeof PAGE_CACHE_STATES)[number];

export async function preparePageCache(state: PageCacheState, directory: string): Promise<void> {
  if (state === 'warm') {
    await runCommand('sh', ['-c', `find ${directory} -type f -exec cat {} + > /dev/null`]);
    return;
  }
  await runCommand('sync', []);
  fs.writeFileSync('/proc/sys/vm/drop_caches', '3');
}
