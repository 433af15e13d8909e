/**
 * The index on disk, kept in LMDB.
 *
 * Owns: the database in the directory `index`. Does not own: what the bytes mean.
 * Every commit is synced before it resolves (`overlappingSync` would resolve earlier), and the
 * writes of one call are one transaction.
 */
import { join } from 'node:path';
import { open } from 'lmdb';
import type { IndexStore, OpenIndexStore } from './index-store.ts';

/** Each value is at most an object of 4096 runs (49 KB) and checksums (16 KB). */
const MAP_BYTES = 1024 * 1024 * 1024;

export const openLmdbIndexStore: OpenIndexStore = async (directory): Promise<IndexStore> => {
  const database = open<Buffer, Buffer>({
    path: join(directory, 'index'),
    noSubdir: false,
    keyEncoding: 'binary',
    encoding: 'binary',
    cache: false,
    mapSize: MAP_BYTES,
    overlappingSync: false,
    // Otherwise a commit that fails also rejects a promise that nobody can reach.
    eventTurnBatching: false,
  });
  return {
    // Not `getBinaryFast`: what it returns is longer than its `length` says, and lent.
    get: (key) => database.getBinary(key),

    peek(key, look) {
      const value = database.getBinaryFast(key);
      if (value === undefined) return false;
      look(value);
      return true;
    },

    range: (start, endExclusive, limit) => [
      ...database
        .getRange({ start, end: endExclusive, limit })
        .map(({ key, value }) => ({ key: Buffer.from(key), value: Buffer.from(value) })),
    ],

    async write(changes) {
      await database.batch(() => {
        for (const { key, value } of changes) {
          if (value === undefined) database.remove(key);
          else database.put(key, value);
        }
      });
      // A read transaction begun before the commit would go on seeing what was before.
      database.resetReadTxn();
    },

    close: () => database.close(),
  };
};
