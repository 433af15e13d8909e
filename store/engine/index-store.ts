/**
 * The index on disk, as an argument: an ordered map of bytes to bytes.
 *
 * Owns the interface and the keys. `lmdb-index-store.ts` implements it; the simulation has one in
 * memory with the same behaviour in a crash. Does not own the values (index-codec.ts).
 * A key is a byte for the table and big-endian numbers, so that keys sort by number.
 */

export interface IndexChange {
  readonly key: Buffer;
  /** `undefined` removes the key. */
  readonly value: Buffer | undefined;
}

export interface IndexEntry {
  readonly key: Buffer;
  readonly value: Buffer;
}

export interface IndexStore {
  /** The newest committed value; nobody else changes it. */
  get(key: Buffer): Buffer | undefined;
  /**
   * Calls `look` with the newest committed value, if there is one, and tells whether there was. The
   * bytes are lent: they are good during the call only, and may be longer than the value.
   */
  peek(key: Buffer, look: (value: Buffer) => void): boolean;
  /** Up to `limit` entries from `start` on, before `endExclusive`, in order. */
  range(start: Buffer, endExclusive: Buffer, limit: number): IndexEntry[];
  /** Applies all changes or none; durable, and seen by `get`, when the promise resolves. */
  write(changes: readonly IndexChange[]): Promise<void>;
  close(): Promise<void>;
}

export type OpenIndexStore = (directory: string) => Promise<IndexStore>;

const Table = {
  checkpoint: 1,
  epochs: 2,
  removedLayers: 3,
  liveCounts: 4,
  objectCounts: 5,
  versions: 6,
  objects: 7,
} as const;

/** Table, a number of 48 bits, a number of 32 bits. */
const KEY_BYTES = 1 + 6 + 4;

function key(table: number, major: number, minor: number): Buffer {
  const bytes = Buffer.allocUnsafe(KEY_BYTES);
  bytes[0] = table;
  bytes.writeUIntBE(major, 1, 6);
  bytes.writeUInt32BE(minor, 7);
  return bytes;
}

export function keyMajor(bytes: Buffer): number {
  return bytes.readUIntBE(1, 6);
}

export function keyMinor(bytes: Buffer): number {
  return bytes.readUInt32BE(7);
}

export const indexKey = {
  checkpoint: (): Buffer => key(Table.checkpoint, 0, 0),
  knownBatchSeq: (): Buffer => key(Table.checkpoint, 0, 1),
  epoch: (volumeId: number): Buffer => key(Table.epochs, volumeId, 0),
  removedLayer: (layerId: number): Buffer => key(Table.removedLayers, layerId, 0),
  liveCount: (segmentId: number): Buffer => key(Table.liveCounts, segmentId, 0),
  objectCount: (layerId: number): Buffer => key(Table.objectCounts, layerId, 0),
  versions: (layerId: number, page: number): Buffer => key(Table.versions, layerId, page),
  object: (layerId: number, objectIndex: number): Buffer =>
    key(Table.objects, layerId, objectIndex),
};

export type KeyRange = readonly [start: Buffer, endExclusive: Buffer];

export const indexRange = {
  epochs: (): KeyRange => [key(Table.epochs, 0, 0), key(Table.epochs + 1, 0, 0)],
  removedLayers: (): KeyRange => [
    key(Table.removedLayers, 0, 0),
    key(Table.removedLayers + 1, 0, 0),
  ],
  liveCounts: (): KeyRange => [key(Table.liveCounts, 0, 0), key(Table.liveCounts + 1, 0, 0)],
  objectCounts: (): KeyRange => [key(Table.objectCounts, 0, 0), key(Table.objectCounts + 1, 0, 0)],
  versionsOf: (layerId: number): KeyRange => [
    key(Table.versions, layerId, 0),
    key(Table.versions, layerId + 1, 0),
  ],
  objectsOf: (layerId: number, fromObjectIndex = 0): KeyRange => [
    key(Table.objects, layerId, fromObjectIndex),
    key(Table.objects, layerId + 1, 0),
  ],
};

const RANGE_PAGE = 64;

/** All entries of a range, a page at a time. */
export function* entriesOf(store: IndexStore, range: KeyRange): Generator<IndexEntry> {
  let [start] = range;
  for (;;) {
    const page = store.range(start, range[1], RANGE_PAGE);
    yield* page;
    if (page.length < RANGE_PAGE) return;
    // The smallest key above the last one: a zero byte more.
    start = Buffer.concat([page.at(-1)!.key, Buffer.alloc(1)]);
  }
}
