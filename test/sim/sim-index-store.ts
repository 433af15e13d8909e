/**
 * The index on disk, in memory, with the crash behaviour of LMDB: a transaction that was not
 * answered yet has happened whole or not at all, and not before those begun earlier.
 */
import type { IndexChange, IndexEntry, IndexStore } from '../../store/engine/index-store.ts';
import type { SimScheduler } from './sim-scheduler.ts';

/** What survives: keys in hexadecimal, so that they sort like bytes. */
export class SimIndexDisk {
  readonly #scheduler: SimScheduler;
  #values = new Map<string, Buffer>();
  #inFlight: (readonly IndexChange[])[] = [];
  #life = 0;
  commits = 0;
  /** The next so many commits fail with this code. */
  failCommits = 0;
  failCode = 'ENOSPC';

  constructor(scheduler: SimScheduler) {
    this.#scheduler = scheduler;
  }

  /** The process dies. */
  crash(): void {
    this.#life += 1;
    const kept = this.#scheduler.random.below(this.#inFlight.length + 1);
    for (const changes of this.#inFlight.slice(0, kept)) this.#apply(changes);
    this.#inFlight = [];
  }

  async open(): Promise<IndexStore> {
    const life = this.#life;
    return {
      get: (key) => this.#values.get(key.toString('hex')),
      peek: (key, look) => {
        const value = this.#values.get(key.toString('hex'));
        if (value !== undefined) look(value);
        return value !== undefined;
      },
      range: (start, endExclusive, limit) => this.#range(start, endExclusive, limit),
      write: (changes) => this.#write(life, changes),
      close: async () => {},
    };
  }

  #range(start: Buffer, endExclusive: Buffer, limit: number): IndexEntry[] {
    const from = start.toString('hex');
    const end = endExclusive.toString('hex');
    return [...this.#values.keys()]
      .filter((key) => key >= from && key < end)
      .sort()
      .slice(0, limit)
      .map((key) => ({ key: Buffer.from(key, 'hex'), value: Buffer.from(this.#values.get(key)!) }));
  }

  #write(life: number, changes: readonly IndexChange[]): Promise<void> {
    const copied = changes.map(({ key, value }) => ({
      key: Buffer.from(key),
      value: value === undefined ? undefined : Buffer.from(value),
    }));
    this.#inFlight.push(copied);
    return new Promise((resolve, reject) => {
      this.#scheduler.defer(() => {
        if (life !== this.#life) return;
        this.#inFlight = this.#inFlight.filter((other) => other !== copied);
        if (this.failCommits > 0) {
          this.failCommits -= 1;
          reject(Object.assign(new Error(`${this.failCode}: simulated`), { code: this.failCode }));
          return;
        }
        this.commits += 1;
        this.#apply(copied);
        resolve();
      });
    });
  }

  #apply(changes: readonly IndexChange[]): void {
    for (const { key, value } of changes) {
      if (value === undefined) this.#values.delete(key.toString('hex'));
      else this.#values.set(key.toString('hex'), value);
    }
  }
}
