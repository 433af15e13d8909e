/**
 * The disk as an argument: what a store node needs of a filesystem.
 *
 * Owns: the interface. `real-disk.ts` implements it with `node:fs`; the tests have one that loses
 * what was not synced, tears writes, fills up and returns errors.
 * Errors are those of the operating system (`code` is `ENOSPC`, `EIO`, `ENOENT`, …).
 */

export interface DiskFile {
  /**
   * Writes all bytes of `buffers`, one after another, from `position` on.
   * On a file opened with `durable`, the bytes and the metadata needed to read them are on stable
   * storage when the promise resolves; on another file, after the next `sync`.
   * The buffers must not change until then.
   */
  write(buffers: readonly Buffer[], position: number): Promise<void>;
  /** Fills `buffers` from `position` on; resolves to the bytes read, fewer only at the file's end. */
  read(buffers: readonly Buffer[], position: number): Promise<number>;
  /** Makes what was written durable (fdatasync). */
  sync(): Promise<void>;
  sizeBytes(): Promise<number>;
  truncate(sizeBytes: number): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions {
  /** Make the file if there is none. */
  readonly create?: boolean;
  /**
   * Each write is durable when it resolves (O_DSYNC). Whole pages of an `alignedBuffer`
   * (`aligned-buffer.ts`) are written past the operating system's cache.
   */
  readonly durable?: boolean;
  readonly readOnly?: boolean;
}

export interface DiskSpace {
  readonly totalBytes: number;
  /** What an unprivileged writer may still use. */
  readonly freeBytes: number;
}

export interface DiskLock {
  release(): Promise<void>;
}

export interface Disk {
  open(path: string, options: OpenOptions): Promise<DiskFile>;
  /** Names (not paths) in a directory, in no order. */
  list(directory: string): Promise<string[]>;
  /** Makes a directory and its parents; no error if it is there. */
  makeDirectory(directory: string): Promise<void>;
  remove(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Makes the creation, removal and renaming of a directory's entries durable. */
  syncDirectory(directory: string): Promise<void>;
  /** The whole content of a small file; `undefined` if there is none. */
  readSmallFile(path: string): Promise<Buffer | undefined>;
  /** Replaces a small file's content whole and durably: a crash leaves the old or the new one. */
  replaceSmallFile(path: string, content: Buffer): Promise<void>;
  space(directory: string): Promise<DiskSpace>;
  /**
   * Takes an exclusive lock that ends with the process, on a file made for it;
   * `undefined` if another process (or another part of this one) holds it.
   */
  lock(path: string): Promise<DiskLock | undefined>;
}
