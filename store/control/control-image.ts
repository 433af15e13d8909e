/**
 * The embedded control plane's records as a whole, and one copy of them on a disk.
 *
 * Owns the types between `embedded-control.ts`, `mirrored-copies.ts` and `lmdb-copy.ts`.
 * Records of sessions are in no image: they end with the process.
 */

export interface StoredRecord {
  /** JSON text. */
  readonly json: string;
  readonly revision: number;
}

/** All records at one revision. */
export interface ControlImage {
  /** The same in every copy; copies of two different control planes are never mixed. */
  readonly clusterId: string;
  /** Grows with each opening, so that what only a few copies got before is told from what came after. */
  readonly generation: number;
  readonly revision: number;
  /** How many copies there are meant to be: a majority of them holds every commit. */
  readonly copyCount: number;
  readonly records: ReadonlyMap<string, StoredRecord>;
}

/** What one commit changes. */
export interface ControlDelta {
  readonly revision: number;
  readonly put: ReadonlyMap<string, StoredRecord>;
  readonly remove: readonly string[];
}

/** One durable copy. Nothing is called while a call is under way. */
export interface ControlCopy {
  /** For messages: where it is. */
  readonly name: string;
  /** What it held when it was opened; `undefined` for a new one. */
  readonly opened: ControlImage | undefined;
  /** Durable, and whole or not at all; after an error it is unknown which. */
  apply(delta: ControlDelta): Promise<void>;
  /** As `apply`: makes the copy equal to `image`, whatever it held. */
  replace(image: ControlImage): Promise<void>;
  close(): Promise<void>;
}
