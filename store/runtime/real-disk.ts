/**
 * The disk of the operating system, through `node:fs`.
 *
 * Owns: open files and locks. Does not own: retries or policy; every error goes to the caller.
 *
 * Durable writes of whole aligned pages go past the page cache (O_DIRECT), where the filesystem can
 * do that: a log is seldom read again, and a page of the cache for each page written costs more
 * than the write itself (the log of three copies took 28 of 85 µs of processor time for 4 KiB).
 * Other writes to the same file go through the cache; the kernel keeps both in step.
 *
 * What is small does not wake a thread: reads of what the page cache holds are done on the spot
 * (`cached-read.ts`), other reads and the writes past it go through a ring (`io-ring.ts`). All else is
 * done by the threads of `node:fs`.
 */
import fs, { constants } from 'node:fs';
import fsPromises from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { tryLock } from 'fs-native-extensions';
import { ALIGNMENT_BYTES, isAligned } from './aligned-buffer.ts';
import { readCached, SMALL_READ_BYTES_MAX } from './cached-read.ts';
import type { Disk, DiskFile, DiskLock, OpenOptions } from './disk.ts';
import { IoRing, NOT_DONE } from './io-ring.ts';
import { type Libc, libc } from './libc.ts';

const openFd = promisify(fs.open);
const closeFd = promisify(fs.close);
const fdatasync = promisify(fs.fdatasync);
const fsync = promisify(fs.fsync);
const fstat = promisify(fs.fstat);
const ftruncate = promisify(fs.ftruncate);

/** One `pwritev`; resolves to the bytes written. */
function writeVector(fd: number, buffers: readonly Buffer[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.writev(fd, buffers as Buffer[], position, (error, bytes) => {
      if (error === null) resolve(bytes);
      else reject(error);
    });
  });
}

/** One `preadv`; resolves to the bytes read. */
function readVector(fd: number, buffers: readonly Buffer[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.readv(fd, buffers as Buffer[], position, (error, bytes) => {
      if (error === null) resolve(bytes);
      else reject(error);
    });
  });
}

/** What is left of `buffers` after their first `skipBytes`. */
function after(buffers: readonly Buffer[], skipBytes: number): Buffer[] {
  const rest: Buffer[] = [];
  let skip = skipBytes;
  for (const buffer of buffers) {
    if (skip >= buffer.length) {
      skip -= buffer.length;
    } else {
      rest.push(skip === 0 ? buffer : buffer.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

function totalBytes(buffers: readonly Buffer[]): number {
  let bytes = 0;
  for (const buffer of buffers) bytes += buffer.length;
  return bytes;
}

/** Hot path. */
function areAligned(buffers: readonly Buffer[], position: number): boolean {
  if (position % ALIGNMENT_BYTES !== 0) return false;
  for (let i = 0; i < buffers.length; i += 1) if (!isAligned(buffers[i]!)) return false;
  return true;
}

/** How to do without a thread, where that is possible. */
interface FastRoads {
  readonly libc: Libc | undefined;
  readonly ring: IoRing | undefined;
}

class RealFile implements DiskFile {
  readonly #roads: FastRoads;
  readonly #fd: number;
  /** For writes past the page cache; `undefined` if the file cannot be written so. */
  readonly #directFd: number | undefined;

  constructor(roads: FastRoads, fd: number, directFd?: number) {
    this.#roads = roads;
    this.#fd = fd;
    this.#directFd = directFd;
  }

  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    const wanted = totalBytes(buffers);
    let done = await this.#writeSome(buffers, wanted, position);
    // A short write is legal (a signal, a disk filling up); the next call tells the reason.
    while (done < wanted) {
      done += await this.#writeSome(after(buffers, done), wanted - done, position + done);
    }
  }

  /** Hot path. */
  async #writeSome(
    buffers: readonly Buffer[],
    byteCount: number,
    position: number,
  ): Promise<number> {
    const directFd = this.#directFd;
    if (directFd === undefined || !areAligned(buffers, position)) {
      return writeVector(this.#fd, buffers, position);
    }
    const bytes = await this.#roads.ring?.write(directFd, buffers, byteCount, position);
    if (bytes !== undefined && bytes !== NOT_DONE) return bytes;
    return writeVector(directFd, buffers, position);
  }

  async read(buffers: readonly Buffer[], position: number): Promise<number> {
    const wanted = totalBytes(buffers);
    let done = this.#readCached(buffers, wanted, position);
    while (done < wanted) {
      const rest = done === 0 ? buffers : after(buffers, done);
      const bytes = await this.#readSome(rest, wanted - done, position + done);
      if (bytes === 0) break;
      done += bytes;
    }
    return done;
  }

  /** Hot path. */
  async #readSome(
    buffers: readonly Buffer[],
    byteCount: number,
    position: number,
  ): Promise<number> {
    if (byteCount <= SMALL_READ_BYTES_MAX) {
      const bytes = await this.#roads.ring?.read(this.#fd, buffers, byteCount, position);
      if (bytes !== undefined && bytes !== NOT_DONE) return bytes;
    }
    return readVector(this.#fd, buffers, position);
  }

  /** Hot path. */
  #readCached(buffers: readonly Buffer[], byteCount: number, position: number): number {
    const { libc } = this.#roads;
    if (libc === undefined || byteCount > SMALL_READ_BYTES_MAX) return 0;
    return readCached(libc, this.#fd, buffers, position);
  }

  sync(): Promise<void> {
    return fdatasync(this.#fd);
  }

  async sizeBytes(): Promise<number> {
    return (await fstat(this.#fd)).size;
  }

  truncate(sizeBytes: number): Promise<void> {
    return ftruncate(this.#fd, sizeBytes);
  }

  async close(): Promise<void> {
    if (this.#directFd !== undefined) await closeFd(this.#directFd);
    await closeFd(this.#fd);
  }
}

/** `undefined` where the system or the filesystem has no writing past the page cache. */
async function openDirect(path: string, flags: number): Promise<number | undefined> {
  if (constants.O_DIRECT === undefined) return undefined;
  try {
    return await openFd(path, flags | constants.O_DIRECT);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return undefined;
    throw error;
  }
}

function openFlags(options: OpenOptions): number {
  return (
    (options.readOnly === true ? constants.O_RDONLY : constants.O_RDWR) |
    (options.create === true ? constants.O_CREAT : 0) |
    (options.durable === true ? constants.O_DSYNC : 0)
  );
}

async function syncDirectory(directory: string): Promise<void> {
  const fd = await openFd(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await fsync(fd);
  } finally {
    await closeFd(fd);
  }
}

/** Without `libc` all is done by threads, as on a system that has no ring. */
export function createRealDisk(libc: Libc | undefined): Disk {
  const withoutRing: FastRoads = { libc, ring: undefined };
  let roads: FastRoads | undefined;
  return {
    async open(path, options) {
      const flags = openFlags(options);
      const fd = await openFd(path, flags, 0o640);
      roads ??= { libc, ring: libc === undefined ? undefined : IoRing.open(libc) };
      if (options.durable !== true) return new RealFile(roads, fd);
      try {
        return new RealFile(roads, fd, await openDirect(path, flags));
      } catch (error) {
        await closeFd(fd);
        throw error;
      }
    },

    list: (directory) => fsPromises.readdir(directory),

    async makeDirectory(directory) {
      await fsPromises.mkdir(directory, { recursive: true });
    },

    remove: (path) => fsPromises.unlink(path),

    rename: (from, to) => fsPromises.rename(from, to),

    syncDirectory,

    async readSmallFile(path) {
      try {
        return await fsPromises.readFile(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },

    async replaceSmallFile(path, content) {
      const temporary = `${path}.new`;
      const fd = await openFd(
        temporary,
        constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
        0o640,
      );
      try {
        await new RealFile(withoutRing, fd).write([content], 0);
        await fsync(fd);
      } finally {
        await closeFd(fd);
      }
      await fsPromises.rename(temporary, path);
      await syncDirectory(dirname(path));
    },

    async space(directory) {
      const stats = await fsPromises.statfs(directory);
      return { totalBytes: stats.blocks * stats.bsize, freeBytes: stats.bavail * stats.bsize };
    },

    async lock(path): Promise<DiskLock | undefined> {
      const fd = await openFd(path, constants.O_RDWR | constants.O_CREAT, 0o640);
      if (!tryLock(fd)) {
        await closeFd(fd);
        return undefined;
      }
      return { release: () => closeFd(fd) };
    },
  };
}

export const realDisk = createRealDisk(libc);
