/**
 * A unix socket's path that outlived its server.
 *
 * Owns: telling such a path from one that is in use, and removing it.
 */
import { lstat, unlink } from 'node:fs/promises';
import net from 'node:net';

function somebodyListens(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = net.connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') resolve(false);
      else reject(error);
    });
  });
}

/**
 * Removes the socket at `path` if nobody listens there; false if somebody does, or if what stands
 * there is no socket. Rejects with the operating system's error.
 */
export async function removeStaleSocket(path: string): Promise<boolean> {
  // Connecting to a plain file is refused as well: without this look it would be deleted.
  if (!(await lstat(path)).isSocket()) return false;
  if (await somebodyListens(path)) return false;
  await unlink(path);
  return true;
}
