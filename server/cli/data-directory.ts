/**
 * Making the data directory so that a power cut does not take it away again.
 */
import { dirname } from 'node:path';
import type { Disk } from '../../store/runtime/disk.ts';

async function isThere(disk: Disk, directory: string): Promise<boolean> {
  try {
    await disk.list(directory);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/**
 * Makes the directory (an absolute path) and the parents that it lacks. What is later made durable
 * in it would be lost with the entry that leads to it, so each new entry is synced too.
 */
export async function makeDataDirectory(disk: Disk, directory: string): Promise<void> {
  const changed: string[] = [];
  for (let path = directory; !(await isThere(disk, path)); path = dirname(path)) {
    changed.push(dirname(path));
  }
  if (changed.length === 0) return;
  await disk.makeDirectory(directory);
  for (const parent of changed) await disk.syncDirectory(parent);
}
