/**
 * The control plane of several machines: records in an etcd cluster.
 *
 * Owns: reading and transactions, and the sessions and watches of this user. Does not own the
 * connections (`etcd-client.ts`). Reads are linearizable, as etcd's are unless asked otherwise.
 */
import { strict as assert } from 'node:assert';
import type { Clock } from '../runtime/clock.ts';
import { DroverError, isDroverError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import {
  type ControlChange,
  type ControlPlane,
  type ControlRecord,
  type ControlSession,
  type ControlTransaction,
  REVISION_NONE,
} from './control-plane.ts';
import { ControlStats } from './control-stats.ts';
import { etcdMethods, type RequestOp, type TxnResponse } from './etcd-api.ts';
import { EtcdClient } from './etcd-client.ts';
import { EtcdKeys } from './etcd-keys.ts';
import { EtcdSession } from './etcd-session.ts';
import { EtcdWatch } from './etcd-watch.ts';

export interface EtcdControlOptions {
  /** `HOST:PORT` of each member. */
  readonly endpoints: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  /** Before every key; `drover/` if left out. */
  readonly keyPrefix?: string;
}

export class EtcdControl implements ControlPlane {
  readonly stats = new ControlStats();
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #keys: EtcdKeys;
  readonly #sessions = new Set<EtcdSession>();
  readonly #watches = new Set<EtcdWatch>();
  #isClosing = false;

  /** Connects at the first call. */
  constructor(options: EtcdControlOptions) {
    assert(options.endpoints.length > 0, 'etcd has no endpoints');
    this.#client = new EtcdClient(options.endpoints, options.clock);
    this.#clock = options.clock;
    this.#log = options.log;
    this.#keys = new EtcdKeys(options.keyPrefix ?? 'drover/');
  }

  get(key: string): Promise<ControlRecord | undefined> {
    return this.stats.measured(this.#clock, 'get', async () => {
      const { kvs } = await this.#client.call(etcdMethods.range, { key: this.#keys.keyOf(key) });
      return kvs[0] && this.#keys.recordOf(kvs[0]);
    });
  }

  list(prefix: string): Promise<ControlRecord[]> {
    return this.stats.measured(this.#clock, 'list', async () => {
      const { kvs } = await this.#client.call(etcdMethods.range, this.#keys.rangeOf(prefix));
      return kvs.map((found) => this.#keys.recordOf(found));
    });
  }

  commit(transaction: ControlTransaction): Promise<number> {
    return this.stats.measured(this.#clock, 'commit', () => this.#commit(transaction));
  }

  async #commit(transaction: ControlTransaction): Promise<number> {
    const { expect } = transaction;
    const compare = expect.map(({ key, revision }) => ({
      key: this.#keys.keyOf(key),
      target: 'MOD' as const,
      result: 'EQUAL' as const,
      mod_revision: String(revision),
    }));
    const success = this.#changesOf(transaction);
    const failure = compare.map(({ key }) => ({ request_range: { key, keys_only: true } }));
    let answer: TxnResponse;
    try {
      answer = await this.#client.call(etcdMethods.txn, { compare, success, failure });
    } catch (error) {
      if (!isDroverError(error, 'notFound')) throw error;
      // The only thing that a transaction may not find is the lease of a session.
      throw new DroverError('fenced', 'the session of a control record has ended', error);
    }
    if (answer.succeeded) return Number(answer.header.revision);
    throw this.#conflict(expect, answer);
  }

  #changesOf({ put = [], remove = [] }: ControlTransaction): RequestOp[] {
    const keys = [...put.map(({ key }) => key), ...remove];
    assert(new Set(keys).size === keys.length, `a key is changed twice in ${keys.join(', ')}`);
    const puts = put.map(({ key, value, session }) => {
      const json = JSON.stringify(value);
      assert(json !== undefined, `control record ${key} has no value`);
      assert(session === undefined || session instanceof EtcdSession, 'a session of elsewhere');
      const request_put = { key: this.#keys.keyOf(key), value: Buffer.from(json) };
      return { request_put: session ? { ...request_put, lease: session.leaseId } : request_put };
    });
    const removes = remove.map((key) => ({ request_delete_range: { key: this.#keys.keyOf(key) } }));
    return [...puts, ...removes];
  }

  #conflict(expect: ControlTransaction['expect'], answer: TxnResponse): DroverError {
    for (const [at, { key, revision }] of expect.entries()) {
      const range = answer.responses[at]?.response_range;
      const found = Number(range?.kvs[0]?.mod_revision ?? REVISION_NONE);
      if (found === revision) continue;
      const what = `control record ${key} is at revision ${found}, not ${revision}`;
      return new DroverError('conflict', what);
    }
    return new DroverError('conflict', 'a control record was at another revision');
  }

  async watch(prefix: string, onChange: (change: ControlChange) => void): Promise<() => void> {
    const watch = new EtcdWatch({
      client: this.#client,
      clock: this.#clock,
      keys: this.#keys,
      log: this.#log,
      stats: this.stats,
      prefix,
      onChange,
    });
    const end = (): void => {
      this.#watches.delete(watch);
      watch.end();
    };
    this.#watches.add(watch);
    try {
      await this.stats.measured(this.#clock, 'watch', () => watch.start());
      return end;
    } catch (error) {
      end();
      throw error;
    }
  }

  async startSession(ttlMs: number): Promise<ControlSession> {
    const parts = {
      ...{ client: this.#client, clock: this.#clock, log: this.#log, stats: this.stats },
    };
    const session = await this.stats.measured(this.#clock, 'session', () =>
      EtcdSession.start(parts, ttlMs),
    );
    this.#sessions.add(session);
    return session;
  }

  /** Error: `unavailable` if the sessions could not be ended: then they end with their time. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const watch of this.#watches) watch.end();
    try {
      await Promise.all([...this.#sessions].map((session) => session.end()));
    } finally {
      this.#client.close();
    }
  }
}
