/**
 * The control plane of one machine, inside the process: records in memory, kept durable in one or
 * more directories.
 *
 * Owns: expectations, sessions, watches. Does not own the copies on disk (`mirrored-copies.ts`).
 * Invariants: one commit at a time; a change shows to readers and watchers only after it is
 * durable. Records of sessions are in memory only: they end with the process by construction. No
 * other process can take what a session holds, so it lives until it is ended; a stall of this
 * process ends none.
 */
import { strict as assert } from 'node:assert';
import { Mutex } from 'async-mutex';
import type { Clock } from '../runtime/clock.ts';
import type { Disk } from '../runtime/disk.ts';
import { DroverError, describeError } from '../runtime/drover-error.ts';
import type { Random } from '../runtime/random.ts';
import type { ControlCopy, StoredRecord } from './control-image.ts';
import { assertControlKey } from './control-key.ts';
import {
  type ControlChange,
  type ControlPlane,
  type ControlRecord,
  type ControlSession,
  type ControlTransaction,
  REVISION_NONE,
} from './control-plane.ts';
import { ControlStats } from './control-stats.ts';
import { openLmdbCopy } from './lmdb-copy.ts';
import { MirroredCopies, type MirroredCopiesOptions } from './mirrored-copies.ts';

class EmbeddedSession implements ControlSession {
  readonly ttlMs: number;
  readonly #clock: Clock;
  readonly #onEnd: () => Promise<void>;
  isOver = false;

  constructor(ttlMs: number, clock: Clock, onEnd: () => Promise<void>) {
    this.ttlMs = ttlMs;
    this.#clock = clock;
    this.#onEnd = onEnd;
  }

  aliveUntilMs(): number {
    return this.isOver ? Number.NEGATIVE_INFINITY : this.#clock.nowMs() + this.ttlMs;
  }

  end(): Promise<void> {
    return this.#onEnd();
  }
}

interface LiveRecord extends StoredRecord {
  /** Set for a record that is in memory only. */
  readonly session?: EmbeddedSession;
}

interface Watch {
  readonly prefix: string;
  readonly onChange: (change: ControlChange) => void;
}

/** What one commit does: for each key its new record, or that there is none any more. */
type Changes = Map<string, LiveRecord | undefined>;

export interface EmbeddedControlOptions {
  /** One copy of the records is kept in each; a majority must be there. */
  readonly directories: readonly string[];
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly onCopyEvent?: MirroredCopiesOptions['onCopyEvent'];
}

export class EmbeddedControl implements ControlPlane {
  readonly stats = new ControlStats();
  readonly #copies: MirroredCopies;
  readonly #clock: Clock;
  readonly #records: Map<string, LiveRecord>;
  readonly #watches = new Set<Watch>();
  readonly #sessions = new Set<EmbeddedSession>();
  readonly #mutex = new Mutex();
  #revision: number;
  #isClosed = false;

  /**
   * Errors: `busy` if another process has a directory, `invalid` for an unknown format or
   * directories of different control planes, `corrupt`, `unavailable` if too few can be used.
   */
  static async open(options: EmbeddedControlOptions): Promise<EmbeddedControl> {
    const copies: ControlCopy[] = [];
    let failure: unknown;
    try {
      for (const directory of options.directories) {
        try {
          copies.push(await openLmdbCopy(directory, options.disk));
        } catch (error) {
          if (!(error instanceof DroverError) || error.kind !== 'unavailable') throw error;
          failure = error;
          options.onCopyEvent?.(directory, 'behind', error);
        }
      }
      const mirrored = await MirroredCopies.open({
        copies,
        copyCount: options.directories.length,
        clock: options.clock,
        random: options.random,
        onCopyEvent: options.onCopyEvent,
      });
      return new EmbeddedControl(mirrored, options.clock);
    } catch (error) {
      for (const copy of copies) await copy.close();
      if (failure === undefined || failure === error) throw error;
      throw new DroverError('unavailable', describeError(error), failure);
    }
  }

  constructor(copies: MirroredCopies, clock: Clock) {
    this.#copies = copies;
    this.#clock = clock;
    this.#records = new Map(copies.image.records);
    this.#revision = copies.image.revision;
  }

  /** Names the control plane: the same for as long as its records live. */
  get clusterId(): string {
    return this.#copies.image.clusterId;
  }

  /** The directories whose copy is up to date. */
  get currentCopies(): string[] {
    return this.#copies.currentCopies;
  }

  get(key: string): Promise<ControlRecord | undefined> {
    return this.stats.measured(this.#clock, 'get', async () => {
      this.#checkOpen();
      const record = this.#records.get(key);
      return record && toControlRecord(key, record);
    });
  }

  list(prefix: string): Promise<ControlRecord[]> {
    return this.stats.measured(this.#clock, 'list', async () => {
      this.#checkOpen();
      const keys = [...this.#records.keys()].filter((key) => key.startsWith(prefix)).sort();
      return keys.map((key) => toControlRecord(key, this.#records.get(key)!));
    });
  }

  commit(transaction: ControlTransaction): Promise<number> {
    return this.stats.measured(this.#clock, 'commit', () => this.#commit(transaction));
  }

  #commit(transaction: ControlTransaction): Promise<number> {
    return this.#mutex.runExclusive(() => {
      this.#checkOpen();
      for (const { key, revision } of transaction.expect) {
        const found = this.#records.get(key)?.revision ?? REVISION_NONE;
        if (found !== revision) {
          throw new DroverError(
            'conflict',
            `control record ${key} is at revision ${found}, not ${revision}`,
          );
        }
      }
      return this.#apply(this.#changesOf(transaction, this.#revision + 1));
    });
  }

  #changesOf(transaction: ControlTransaction, revision: number): Changes {
    const changes: Changes = new Map();
    for (const { key, value, session } of transaction.put ?? []) {
      assertControlKey(key);
      assert(!changes.has(key), `control record ${key} is changed twice in one transaction`);
      const json = JSON.stringify(value);
      assert(json !== undefined, `control record ${key} has no value`);
      if (session === undefined) {
        changes.set(key, { json, revision });
        continue;
      }
      assert(
        session instanceof EmbeddedSession,
        `the session of ${key} is of another control plane`,
      );
      if (session.isOver) {
        throw new DroverError('fenced', `the session of control record ${key} has ended`);
      }
      changes.set(key, { json, revision, session });
    }
    for (const key of transaction.remove ?? []) {
      assert(!changes.has(key), `control record ${key} is changed twice in one transaction`);
      if (this.#records.has(key)) changes.set(key, undefined);
    }
    return changes;
  }

  /** Called with the mutex held. */
  async #apply(changes: Changes): Promise<number> {
    this.#revision += 1;
    const revision = this.#revision;
    const put = new Map<string, StoredRecord>();
    const remove: string[] = [];
    for (const [key, record] of changes) {
      const before = this.#records.get(key);
      if (record !== undefined && record.session === undefined) put.set(key, record);
      else if (before !== undefined && before.session === undefined) remove.push(key);
    }
    if (put.size + remove.length > 0) await this.#copies.apply({ revision, put, remove });
    for (const [key, record] of changes) {
      if (record === undefined) this.#records.delete(key);
      else this.#records.set(key, record);
    }
    for (const [key, record] of changes) {
      const change = { key, record: record && toControlRecord(key, record) };
      for (const watch of [...this.#watches]) {
        if (key.startsWith(watch.prefix)) watch.onChange(change);
      }
    }
    return revision;
  }

  async watch(prefix: string, onChange: (change: ControlChange) => void): Promise<() => void> {
    const watch = { prefix, onChange };
    await this.stats.measured(this.#clock, 'watch', async () => {
      this.#checkOpen();
      this.#watches.add(watch);
    });
    return () => {
      this.#watches.delete(watch);
    };
  }

  startSession(ttlMs: number): Promise<ControlSession> {
    return this.stats.measured(this.#clock, 'session', async () => {
      this.#checkOpen();
      const session = new EmbeddedSession(ttlMs, this.#clock, () => this.#endSession(session));
      this.#sessions.add(session);
      return session;
    });
  }

  #endSession(session: EmbeddedSession): Promise<void> {
    return this.#mutex.runExclusive(async () => {
      if (session.isOver || this.#isClosed) return;
      session.isOver = true;
      this.#sessions.delete(session);
      const changes: Changes = new Map();
      for (const [key, record] of this.#records) {
        if (record.session === session) changes.set(key, undefined);
      }
      if (changes.size > 0) await this.#apply(changes);
    });
  }

  close(): Promise<void> {
    return this.#mutex.runExclusive(async () => {
      if (this.#isClosed) return;
      this.#isClosed = true;
      this.#watches.clear();
      for (const session of this.#sessions) session.isOver = true;
      await this.#copies.close();
    });
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new DroverError('unavailable', 'the control plane is closed');
  }
}

function toControlRecord(key: string, record: StoredRecord): ControlRecord {
  return { key, value: JSON.parse(record.json), revision: record.revision };
}
