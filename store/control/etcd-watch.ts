/**
 * A watch of a prefix that outlives connections, restarts of etcd and compaction.
 *
 * Owns: the stream of changes, and what was told of each record. Does not own the callback's work.
 * Invariant: each stream begins at the revision after a listing, and what the listing shows to be
 * different from what was told is told before it; so nothing is missed, whatever came between.
 */
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import type { Clock, TimerHandle } from '../runtime/clock.ts';
import { DroverError, describeError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { ControlChange } from './control-plane.ts';
import type { ControlStats } from './control-stats.ts';
import { etcdMethods, type KeyValue, type WatchRequest, type WatchResponse } from './etcd-api.ts';
import type { EtcdClient } from './etcd-client.ts';
import type { EtcdKeys } from './etcd-keys.ts';
import { ETCD_CALL_TIMEOUT_MS, WATCH_RETRY_MS } from './limits.ts';

export interface EtcdWatchOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly keys: EtcdKeys;
  readonly log: Logger;
  readonly stats: ControlStats;
  readonly prefix: string;
  readonly onChange: (change: ControlChange) => void;
}

type WatchStream = ClientDuplexStream<WatchRequest, WatchResponse>;

export class EtcdWatch {
  readonly #options: EtcdWatchOptions;
  /** The revision last told of each record that exists. */
  readonly #told = new Map<string, number>();
  #stream: WatchStream | undefined;
  #timer: TimerHandle | undefined;
  #isEnded = false;

  constructor(options: EtcdWatchOptions) {
    this.#options = options;
  }

  /** Resolves when changes from now on will be told. Error: `unavailable`. */
  async start(): Promise<void> {
    const listed = await this.#list();
    for (const found of listed.kvs) {
      this.#told.set(this.#options.keys.controlKeyOf(found), Number(found.mod_revision));
    }
    await this.#follow(listed.revision);
  }

  end(): void {
    this.#isEnded = true;
    this.#timer?.cancel();
    this.#stream?.cancel();
  }

  async #list(): Promise<{ kvs: readonly KeyValue[]; revision: number }> {
    const { client, keys, prefix } = this.#options;
    const { header, kvs } = await client.call(etcdMethods.range, keys.rangeOf(prefix));
    return { kvs, revision: Number(header.revision) };
  }

  /** Tells what has changed since the last stream ended, then follows on. */
  async #resume(): Promise<void> {
    const { kvs, revision } = await this.#list();
    if (this.#isEnded) return;
    const gone = new Set(this.#told.keys());
    for (const found of kvs) {
      const key = this.#options.keys.controlKeyOf(found);
      gone.delete(key);
      if (this.#told.get(key) !== Number(found.mod_revision)) this.#tell(found, 'PUT');
    }
    for (const key of gone) this.#tellRemoved(key);
    await this.#follow(revision);
  }

  async #follow(revision: number): Promise<void> {
    const { client, clock, keys, prefix } = this.#options;
    const readyByMs = clock.nowMs() + ETCD_CALL_TIMEOUT_MS;
    const { address, stream } = await client.openStream(etcdMethods.watch, readyByMs);
    this.#stream = stream;
    const created = Promise.withResolvers<void>();
    let isOver = false;
    const over = (error: DroverError): void => {
      if (isOver) return;
      isOver = true;
      limit.cancel();
      stream.cancel();
      created.reject(error);
      this.#resumeLater(error);
    };
    const limit = clock.setTimer(ETCD_CALL_TIMEOUT_MS, () =>
      over(new DroverError('unavailable', `etcd at ${address} did not begin to watch`)),
    );
    stream.on('data', (response: WatchResponse) => {
      if (isOver || this.#isEnded) return;
      if (response.canceled) {
        over(new DroverError('unavailable', `etcd ended a watch: ${response.cancel_reason}`));
        return;
      }
      if (response.created) {
        limit.cancel();
        created.resolve();
      }
      for (const event of response.events) this.#tell(event.kv, event.type);
    });
    stream.on('error', (error: ServiceError) => {
      if (isOver) return;
      const ended = new DroverError('unavailable', 'the watch was ended');
      over(this.#isEnded ? ended : client.failure(address, error));
    });
    stream.on('end', () => over(new DroverError('unavailable', 'etcd ended a watch')));
    const start_revision = String(revision + 1);
    stream.write({ create_request: { ...keys.rangeOf(prefix), start_revision } });
    await created.promise;
  }

  #resumeLater(reason: unknown): void {
    this.#timer?.cancel();
    if (this.#isEnded) return;
    const { clock, log, stats, prefix } = this.#options;
    stats.watchInterruptions += 1;
    log.warn({ prefix, reason: describeError(reason) }, 'a watch is interrupted');
    this.#timer = clock.setTimer(WATCH_RETRY_MS, () => {
      this.#resume().catch((error: unknown) => this.#resumeLater(error));
    });
  }

  #tell(found: KeyValue, type: 'PUT' | 'DELETE'): void {
    const { keys, onChange } = this.#options;
    const key = keys.controlKeyOf(found);
    if (type === 'DELETE') {
      this.#tellRemoved(key);
      return;
    }
    this.#told.set(key, Number(found.mod_revision));
    onChange({ key, record: keys.recordOf(found) });
  }

  #tellRemoved(key: string): void {
    if (!this.#told.delete(key)) return;
    this.#options.onChange({ key, record: undefined });
  }
}
