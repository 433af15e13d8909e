/**
 * Where volumes, nodes, the cluster map and leases live, as everybody else sees it.
 *
 * Owns the interface: records with compare-and-swap, watching, and sessions whose records end with
 * them. Does not own what the records mean; each kind of record has a file that validates it.
 * Keys are paths such as `volumes/disk0`, in printable ASCII; values are JSON.
 */

/** A record as it was at one revision. */
export interface ControlRecord {
  readonly key: string;
  /** Whoever reads a record checks its value; `undefined` stands for what is not JSON. */
  readonly value: unknown;
  /** Grows with every change of this record; never 0. */
  readonly revision: number;
}

/** The revision of a record that does not exist. */
export const REVISION_NONE = 0;

export interface ControlChange {
  readonly key: string;
  /** `undefined` when the record was removed. */
  readonly record: ControlRecord | undefined;
}

export interface ControlExpectation {
  readonly key: string;
  /** `REVISION_NONE`: the record must not exist. */
  readonly revision: number;
}

export interface ControlPut {
  readonly key: string;
  /** JSON; not `undefined`. */
  readonly value: unknown;
  /** The record goes away when this session ends; without one it stays, whatever it was before. */
  readonly session?: ControlSession;
}

/** What must hold, and what is then done, at once and whole. No key is changed twice in one. */
export interface ControlTransaction {
  readonly expect: readonly ControlExpectation[];
  readonly put?: readonly ControlPut[];
  /** Removing a record that does not exist is no error. */
  readonly remove?: readonly string[];
}

/** A sign of life: its records go away `ttlMs` after its owner stopped renewing it. */
export interface ControlSession {
  readonly ttlMs: number;
  /**
   * On this process's clock, the time (`Clock.nowMs`) until which the session surely lives;
   * moves on with each renewal that was confirmed, and is in the past for good once it has ended.
   */
  aliveUntilMs(): number;
  /** Removes the session's records. Ending it again does nothing. Error: `unavailable`. */
  end(): Promise<void>;
}

export interface ControlPlane {
  /** Errors of all functions: `unavailable`; each answers within a bounded time. */
  get(key: string): Promise<ControlRecord | undefined>;
  /** All records whose keys start with `prefix`, in the order of their keys. */
  list(prefix: string): Promise<ControlRecord[]>;
  /**
   * Applies the transaction if every expectation holds; resolves, when it is durable, to the new
   * revision, which all records that were put have. Errors: `conflict` if an expectation does not
   * hold, `fenced` if a session has ended; both leave everything as it was. After `unavailable` it
   * may have been applied or may yet be: look before doing it again.
   */
  commit(transaction: ControlTransaction): Promise<number>;
  /**
   * Calls `onChange` for each change under `prefix` after this call, in order. Changes may be
   * merged: the newest state of a record always arrives. Returns a function that ends the watch.
   */
  watch(prefix: string, onChange: (change: ControlChange) => void): Promise<() => void>;
  /** Starts a session and keeps it alive until `end` or `close`. */
  startSession(ttlMs: number): Promise<ControlSession>;
  /** Ends the sessions and watches of this user. */
  close(): Promise<void>;
}
