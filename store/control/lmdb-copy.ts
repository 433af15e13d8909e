/**
 * One copy of the embedded control plane's records, in a directory with an LMDB database.
 *
 * Owns: the directory's lock, the database and its format. Does not own what the records mean, nor
 * which of several copies is right.
 * Invariant: header and records change in one LMDB transaction, synced before it resolves.
 */
import { join } from 'node:path';
import { type Database, open, type RootDatabase } from 'lmdb';
import { z } from 'zod';
import type { Disk, DiskLock } from '../runtime/disk.ts';
import { DroverError } from '../runtime/drover-error.ts';
import type { ControlCopy, ControlDelta, ControlImage, StoredRecord } from './control-image.ts';

const FORMAT_VERSION = 1;
const HEADER_KEY = 'header';

const headerSchema = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  clusterId: z.string(),
  generation: z.int(),
  revision: z.int(),
  copyCount: z.int().min(1),
});
type Header = z.infer<typeof headerSchema>;

const recordSchema = z.object({ json: z.string(), revision: z.int().min(1) });

class LmdbCopy implements ControlCopy {
  readonly name: string;
  readonly opened: ControlImage | undefined;
  readonly #lock: DiskLock;
  readonly #root: RootDatabase<unknown, string>;
  readonly #records: Database<StoredRecord, string>;
  #header: Header | undefined;

  constructor(directory: string, lock: DiskLock, root: RootDatabase<unknown, string>) {
    this.name = directory;
    this.#lock = lock;
    this.#root = root;
    this.#records = root.openDB<StoredRecord, string>('records', { encoding: 'json' });
    this.#header = readHeader(directory, root);
    this.opened = this.#header && { ...this.#header, records: this.#readRecords() };
  }

  #readRecords(): Map<string, StoredRecord> {
    const records = new Map<string, StoredRecord>();
    for (const { key, value } of this.#records.getRange()) {
      const parsed = recordSchema.safeParse(value);
      if (!parsed.success) {
        throw new DroverError('corrupt', `${this.name}: control record ${key} is malformed`);
      }
      records.set(key, parsed.data);
    }
    return records;
  }

  apply(delta: ControlDelta): Promise<void> {
    if (this.#header === undefined) throw new Error(`${this.name}: no image yet to change`);
    return this.#commit({ ...this.#header, revision: delta.revision }, () => {
      for (const key of delta.remove) this.#records.remove(key);
      for (const [key, record] of delta.put) this.#records.put(key, record);
    });
  }

  replace(image: ControlImage): Promise<void> {
    const { clusterId, generation, revision, copyCount } = image;
    const header = {
      formatVersion: FORMAT_VERSION,
      clusterId,
      generation,
      revision,
      copyCount,
    } as const;
    return this.#commit(header, () => {
      for (const key of [...this.#records.getKeys()]) this.#records.remove(key);
      for (const [key, record] of image.records) this.#records.put(key, record);
    });
  }

  /** The writes that `change` makes and the header are one LMDB transaction. */
  async #commit(header: Header, change: () => void): Promise<void> {
    try {
      await this.#root.batch(() => {
        change();
        this.#root.put(HEADER_KEY, header);
      });
      this.#header = header;
    } catch (error) {
      // The cause of LMDB's error is another promise, settled by now.
      await Promise.race([(error as { commitError?: Promise<never> }).commitError, undefined]);
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#root.close();
    await this.#lock.release();
  }
}

function readHeader(directory: string, root: RootDatabase<unknown, string>): Header | undefined {
  const value = root.get(HEADER_KEY);
  if (value === undefined) return undefined;
  const parsed = headerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const found = (value as { formatVersion?: unknown } | null)?.formatVersion;
  throw found === FORMAT_VERSION
    ? new DroverError('corrupt', `${directory}: the header of the control records is malformed`)
    : new DroverError(
        'invalid',
        `${directory}: control records of format ${found}; this program knows format ${FORMAT_VERSION}`,
      );
}

/**
 * Opens the copy in `directory`, which is made if there is none.
 * Errors: `busy` if another process has it open, `invalid` for an unknown format, `corrupt`,
 * `unavailable` for the operating system's.
 */
export async function openLmdbCopy(directory: string, disk: Disk): Promise<ControlCopy> {
  let lock: DiskLock | undefined;
  try {
    await disk.makeDirectory(directory);
    lock = await disk.lock(join(directory, 'lock'));
    if (lock === undefined) {
      throw new DroverError('busy', `${directory} is in use by another process`);
    }
    // Without overlapping sync a batch resolves when it is on stable storage, and nothing can be
    // read before that. With batching by turns of the event loop, a commit that fails (a full disk)
    // also rejects a promise that nobody can reach, which ends the process.
    const root = open<unknown, string>({
      path: join(directory, 'records.lmdb'),
      encoding: 'json',
      overlappingSync: false,
      eventTurnBatching: false,
    });
    return new LmdbCopy(directory, lock, root);
  } catch (error) {
    await lock?.release();
    if (error instanceof DroverError) throw error;
    throw new DroverError('unavailable', `${directory}: cannot open the control records`, error);
  }
}
