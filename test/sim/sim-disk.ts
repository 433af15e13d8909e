/**
 * A disk in memory that behaves as badly as a disk may.
 *
 * What was not synced is lost or partly kept in a power cut (`crash`), names of files as well;
 * after `kill` the page cache is still there. It has a capacity, fails writes on demand, answers in
 * random order, and notices when a buffer changes while it is written. After a crash this disk is
 * dead (nothing is answered any more) and the returned one has what is left.
 */
import assert from 'node:assert';
import { dirname, join } from 'node:path';
import type { Disk, DiskFile, DiskLock, DiskSpace, OpenOptions } from '../../store/runtime/disk.ts';
import { SimBytes, SimInode } from './sim-file.ts';
import type { SimScheduler } from './sim-scheduler.ts';

/** A change of a directory's entries; `undefined` removes the name. */
interface EntryChange {
  readonly path: string;
  readonly inode: SimInode | undefined;
}

export function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: simulated`), { code, errno: -1 });
}

export class SimDisk implements Disk {
  readonly #scheduler: SimScheduler;
  readonly #entries = new Map<string, SimInode>();
  readonly #durableEntries = new Map<string, SimInode>();
  /** Not yet durable, each a group of changes that happen together (a rename has two). */
  #entryChanges: EntryChange[][] = [];
  readonly #locks = new Set<string>();
  #isDead = false;
  #holdsNextRead = false;
  #heldRead: (() => void) | undefined;
  capacityBytes = Number.POSITIVE_INFINITY;
  /** Counts down with each write; the one that reaches 0 fails with `writeErrorCode`. */
  writesUntilError = Number.POSITIVE_INFINITY;
  writeErrorCode = 'EIO';
  /** Writes of files opened as durable, and syncs. */
  syncs = 0;

  constructor(scheduler: SimScheduler) {
    this.#scheduler = scheduler;
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const inode of this.#entries.values()) bytes += inode.current.size;
    return bytes;
  }

  /** Power is cut, or, with `keepsCache`, the process dies and the machine lives on. */
  crash(keepsCache = false): SimDisk {
    this.#isDead = true;
    const { random } = this.#scheduler;
    const entries = new Map(this.#durableEntries);
    const kept = keepsCache
      ? this.#entryChanges.length
      : random.below(this.#entryChanges.length + 1);
    for (const change of this.#entryChanges.slice(0, kept).flat()) putEntry(entries, change);
    const left = new SimDisk(this.#scheduler);
    left.capacityBytes = this.capacityBytes;
    for (const [path, inode] of entries) {
      const found = keepsCache ? inode.afterKill(random) : inode.afterCrash(random);
      left.#entries.set(path, found);
      left.#durableEntries.set(path, found);
    }
    return left;
  }

  /** The next read of a file is answered only after `releaseRead`. */
  holdNextRead(): void {
    this.#holdsNextRead = true;
  }

  get holdsRead(): boolean {
    return this.#heldRead !== undefined;
  }

  releaseRead(): void {
    assert(this.#heldRead !== undefined, 'no read is held');
    this.#scheduler.defer(this.#heldRead);
    this.#heldRead = undefined;
  }

  paths(): string[] {
    return [...this.#entries.keys()].sort();
  }

  /** The bytes of a file, to look at or to damage. */
  contentOf(path: string): SimInode {
    const inode = this.#entries.get(path);
    assert(inode !== undefined, `no file ${path}`);
    return inode;
  }

  open(path: string, options: OpenOptions): Promise<DiskFile> {
    return this.#later(() => {
      let inode = this.#entries.get(path);
      if (inode === undefined) {
        if (options.create !== true) throw systemError('ENOENT');
        inode = new SimInode();
        this.#changeEntries([{ path, inode }]);
      }
      return this.#file(inode, options);
    });
  }

  list(directory: string): Promise<string[]> {
    return this.#later(() =>
      [...this.#entries.keys()]
        .filter((path) => dirname(path) === directory)
        .map((path) => path.slice(directory.length + 1)),
    );
  }

  makeDirectory(): Promise<void> {
    return this.#later(() => {});
  }

  remove(path: string): Promise<void> {
    return this.#later(() => {
      if (!this.#entries.has(path)) throw systemError('ENOENT');
      this.#changeEntries([{ path, inode: undefined }]);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#later(() => {
      const inode = this.#entries.get(from);
      if (inode === undefined) throw systemError('ENOENT');
      this.#changeEntries([
        { path: from, inode: undefined },
        { path: to, inode },
      ]);
    });
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#later(() => {
      const isHere = (group: EntryChange[]) =>
        group.some(({ path }) => dirname(path) === directory);
      for (const group of this.#entryChanges.filter(isHere)) {
        for (const change of group) putEntry(this.#durableEntries, change);
      }
      this.#entryChanges = this.#entryChanges.filter((group) => !isHere(group));
    });
  }

  readSmallFile(path: string): Promise<Buffer | undefined> {
    return this.#later(() => {
      const content = this.#entries.get(path)?.current;
      return content === undefined ? undefined : Buffer.from(content.at(0, content.size));
    });
  }

  replaceSmallFile(path: string, content: Buffer): Promise<void> {
    return this.#later(() => {
      const bytes = new SimBytes();
      bytes.write(content, 0);
      const change = { path, inode: new SimInode(bytes) };
      putEntry(this.#entries, change);
      putEntry(this.#durableEntries, change);
    });
  }

  space(): Promise<DiskSpace> {
    return this.#later(() => ({
      totalBytes: this.capacityBytes,
      freeBytes: Math.max(0, this.capacityBytes - this.usedBytes),
    }));
  }

  lock(path: string): Promise<DiskLock | undefined> {
    return this.#later(() => {
      if (this.#locks.has(path)) return undefined;
      this.#locks.add(path);
      return { release: () => this.#later(() => void this.#locks.delete(path)) };
    });
  }

  #changeEntries(changes: EntryChange[]): void {
    for (const change of changes) putEntry(this.#entries, change);
    this.#entryChanges.push(changes);
  }

  #file(inode: SimInode, options: OpenOptions): DiskFile {
    let isOpen = true;
    const whileOpen = <T>(act: () => T): Promise<T> => {
      assert(isOpen, 'the file is closed');
      return this.#later(act);
    };
    return {
      write: (buffers, position) => {
        assert(isOpen, 'the file is closed');
        return this.#write(inode, buffers, position, options.durable === true);
      },
      read: async (buffers, position) => {
        if (this.#holdsNextRead) await this.#hold();
        return whileOpen(() => {
          let at = position;
          for (const buffer of buffers) {
            const bytes = inode.current.at(at, buffer.length);
            bytes.copy(buffer);
            at += bytes.length;
            if (bytes.length < buffer.length) break;
          }
          return at - position;
        });
      },
      sync: () => {
        const count = inode.changes.length;
        this.syncs += 1;
        return whileOpen(() => inode.sync(count));
      },
      sizeBytes: () => whileOpen(() => inode.current.size),
      truncate: (sizeBytes) => whileOpen(() => inode.truncate(sizeBytes)),
      close: () => {
        isOpen = false;
        return this.#later(() => {});
      },
    };
  }

  #hold(): Promise<void> {
    this.#holdsNextRead = false;
    return new Promise((resolve) => {
      this.#heldRead = resolve;
    });
  }

  #write(
    inode: SimInode,
    buffers: readonly Buffer[],
    position: number,
    isDurable: boolean,
  ): Promise<void> {
    const bytes = Buffer.concat(buffers);
    const change = { kind: 'write', position, bytes } as const;
    inode.inFlight.add(change);
    if (isDurable) this.syncs += 1;
    return this.#later(() => {
      inode.inFlight.delete(change);
      assert(bytes.equals(Buffer.concat(buffers)), 'a buffer changed while it was written');
      this.writesUntilError -= 1;
      const room = this.capacityBytes - this.usedBytes + inode.current.size;
      const isFull = position + bytes.length > room && position + bytes.length > inode.current.size;
      if (this.writesUntilError <= 0 || isFull) {
        const done = this.#scheduler.random.below(bytes.length + 1);
        const fits = isFull ? Math.max(0, Math.min(done, room - position)) : done;
        if (fits > 0) inode.write(bytes.subarray(0, fits), position, false);
        throw systemError(isFull ? 'ENOSPC' : this.writeErrorCode);
      }
      inode.write(bytes, position, isDurable);
    });
  }

  #later<T>(act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#scheduler.defer(() => {
        if (this.#isDead) return;
        try {
          resolve(act());
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}

function putEntry(entries: Map<string, SimInode>, { path, inode }: EntryChange): void {
  if (inode === undefined) entries.delete(path);
  else entries.set(path, inode);
}

export function segmentPath(directory: string, segmentId: number): string {
  return join(directory, 'segments', `${String(segmentId).padStart(8, '0')}.seg`);
}
