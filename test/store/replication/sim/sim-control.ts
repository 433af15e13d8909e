/**
 * A control plane in memory on simulated time, that each of its users may lose the way to.
 *
 * Owns: the records, revisions and sessions of all users. A session ends `ttlMs` after the last
 * renewal that reached it. A user that is cut off gets `unavailable`; what it asked for may have
 * been done all the same.
 */
import type {
  ControlChange,
  ControlPlane,
  ControlRecord,
  ControlSession,
  ControlTransaction,
} from '../../../../store/control/control-plane.ts';
import { DroverError } from '../../../../store/runtime/drover-error.ts';
import type { SeededRandom } from '../../../support/seeded-random.ts';
import type { SimClock } from './sim-clock.ts';

class SimSession implements ControlSession {
  readonly ttlMs: number;
  aliveAtUserMs: number;
  expiresMs: number;
  isOver = false;
  readonly #end: () => void;

  constructor(ttlMs: number, nowMs: number, end: () => void) {
    this.ttlMs = ttlMs;
    this.aliveAtUserMs = nowMs + ttlMs;
    this.expiresMs = nowMs + ttlMs;
    this.#end = end;
  }

  aliveUntilMs(): number {
    return this.isOver ? Number.NEGATIVE_INFINITY : this.aliveAtUserMs;
  }

  async end(): Promise<void> {
    this.#end();
  }
}

interface Stored {
  readonly record: ControlRecord;
  readonly session: SimSession | undefined;
}

export class SimControl {
  readonly #clock: SimClock;
  readonly #random: SeededRandom;
  readonly #records = new Map<string, Stored>();
  #revision = 0;
  /** Called with each record put. */
  onPut: (record: ControlRecord) => void = () => undefined;

  constructor(worldClock: SimClock, random: SeededRandom) {
    this.#clock = worldClock;
    this.#random = random;
  }

  user(userClock: SimClock): SimControlUser {
    return new SimControlUser(this, userClock, this.#random);
  }

  value(key: string): unknown {
    this.#expire();
    return this.#records.get(key)?.record.value;
  }

  newSession(ttlMs: number): SimSession {
    const session: SimSession = new SimSession(ttlMs, this.#clock.nowMs(), () => {
      session.isOver = true;
      this.#expire();
    });
    return session;
  }

  renew(session: SimSession): boolean {
    this.#expire();
    if (session.isOver) return false;
    session.expiresMs = this.#clock.nowMs() + session.ttlMs;
    return true;
  }

  get(key: string): ControlRecord | undefined {
    this.#expire();
    return structuredClone(this.#records.get(key)?.record);
  }

  list(prefix: string): ControlRecord[] {
    this.#expire();
    return [...this.#records.values()]
      .map(({ record }) => structuredClone(record))
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  commit(transaction: ControlTransaction): number {
    this.#expire();
    for (const { key, revision } of transaction.expect) {
      const found = this.#records.get(key)?.record.revision ?? 0;
      if (found !== revision) throw new DroverError('conflict', `${key} is at ${found}`);
    }
    for (const { session } of transaction.put ?? []) {
      if (session !== undefined && (session as SimSession).isOver) {
        throw new DroverError('fenced', 'the session has ended');
      }
    }
    this.#revision += 1;
    for (const { key, value, session } of transaction.put ?? []) {
      const record = { key, value: structuredClone(value), revision: this.#revision };
      this.#records.set(key, { record, session: session as SimSession | undefined });
      this.onPut(record);
    }
    for (const key of transaction.remove ?? []) this.#records.delete(key);
    return this.#revision;
  }

  #expire(): void {
    const nowMs = this.#clock.nowMs();
    for (const [key, { session }] of this.#records) {
      if (session === undefined) continue;
      if (nowMs >= session.expiresMs) session.isOver = true;
      if (session.isOver) this.#records.delete(key);
    }
  }
}

export class SimControlUser implements ControlPlane {
  readonly #control: SimControl;
  readonly #clock: SimClock;
  readonly #random: SeededRandom;
  isReachable = true;
  commits = 0;

  constructor(control: SimControl, clock: SimClock, random: SeededRandom) {
    this.#control = control;
    this.#clock = clock;
    this.#random = random;
  }

  get(key: string): Promise<ControlRecord | undefined> {
    return this.#ask(() => this.#control.get(key));
  }

  list(prefix: string): Promise<ControlRecord[]> {
    return this.#ask(() => this.#control.list(prefix));
  }

  commit(transaction: ControlTransaction): Promise<number> {
    this.commits += 1;
    return this.#ask(() => this.#control.commit(transaction));
  }

  async watch(_prefix: string, _onChange: (change: ControlChange) => void): Promise<() => void> {
    throw new Error('replication does not watch');
  }

  async startSession(ttlMs: number): Promise<ControlSession> {
    const session = await this.#ask(() => this.#control.newSession(ttlMs));
    const renew = () => {
      if (session.isOver) return;
      const askedMs = this.#clock.nowMs();
      if (this.isReachable && this.#control.renew(session)) session.aliveAtUserMs = askedMs + ttlMs;
      this.#clock.setTimer(ttlMs / 4, renew);
    };
    renew();
    return session;
  }

  async close(): Promise<void> {}

  /** The question takes a moment each way; a user that is cut off meanwhile learns no answer. */
  #ask<T>(run: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const wayMs = () => this.#random.fraction() * 2;
      const fail = () => reject(new DroverError('unavailable', 'the control plane is unreachable'));
      this.#clock.setTimer(wayMs(), () => {
        if (!this.isReachable) {
          this.#clock.setTimer(100, fail);
          return;
        }
        let answer: () => void;
        try {
          const value = run();
          answer = () => resolve(value);
        } catch (error) {
          answer = () => reject(error);
        }
        this.#clock.setTimer(wayMs(), () => (this.isReachable ? answer() : fail()));
      });
    });
  }
}
