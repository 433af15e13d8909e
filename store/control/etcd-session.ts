/**
 * A session as a lease of etcd that is renewed until it is ended.
 *
 * Owns: renewing, and the time until which the session surely lives. Does not own the records.
 * Invariant: `aliveUntilMs` counts from the moment before a renewal was sent, so that etcd, which
 * counts from when it got it, never ends the lease earlier.
 */
import type { Clock, TimerHandle } from '../runtime/clock.ts';
import { describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { ControlSession } from './control-plane.ts';
import type { ControlStats } from './control-stats.ts';
import { etcdMethods, type LeaseAnswer } from './etcd-api.ts';
import type { EtcdClient } from './etcd-client.ts';
import { SESSION_RENEWALS_PER_TTL, SESSION_RETRY_MS } from './limits.ts';

/** What a session asks of etcd. */
export type LeaseCalls = Pick<EtcdClient, 'call' | 'callOnStream'>;

export interface EtcdSessionOptions {
  readonly client: LeaseCalls;
  readonly clock: Clock;
  readonly log: Logger;
  readonly stats: ControlStats;
}

export class EtcdSession implements ControlSession {
  readonly ttlMs: number;
  readonly leaseId: string;
  readonly #client: LeaseCalls;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stats: ControlStats;
  #aliveUntilMs: number;
  /** `ending`: no more renewals, and etcd is being told. */
  #state: 'live' | 'ending' | 'over' = 'live';
  #timer: TimerHandle | undefined;

  /** Error: `unavailable`. */
  static async start(options: EtcdSessionOptions, ttlMs: number): Promise<EtcdSession> {
    const { client, clock } = options;
    const sentMs = clock.nowMs();
    const seconds = String(Math.max(1, Math.ceil(ttlMs / 1000)));
    const granted = await client.call(etcdMethods.leaseGrant, { TTL: seconds });
    return new EtcdSession(options, granted, sentMs);
  }

  private constructor(options: EtcdSessionOptions, granted: LeaseAnswer, sentMs: number) {
    this.#client = options.client;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#stats = options.stats;
    this.leaseId = granted.ID;
    // etcd may grant longer than asked for, never shorter.
    this.ttlMs = Number(granted.TTL) * 1000;
    this.#aliveUntilMs = sentMs + this.ttlMs;
    this.#renewIn(this.ttlMs / SESSION_RENEWALS_PER_TTL);
  }

  aliveUntilMs(): number {
    return this.#aliveUntilMs;
  }

  #lose(): void {
    this.#log.error({ leaseId: this.leaseId }, 'etcd has ended the session');
    this.#stats.sessionLosses += 1;
    this.#state = 'over';
    this.#aliveUntilMs = Number.NEGATIVE_INFINITY;
    this.#timer?.cancel();
  }

  async end(): Promise<void> {
    if (this.#state === 'over') return;
    this.#state = 'ending';
    this.#aliveUntilMs = Number.NEGATIVE_INFINITY;
    this.#timer?.cancel();
    try {
      await this.#client.call(etcdMethods.leaseRevoke, { ID: this.leaseId });
    } catch (error) {
      if (!isDroverError(error, 'notFound')) throw error;
    }
    this.#state = 'over';
  }

  #renewIn(delayMs: number): void {
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#renew().then(
        (nextMs) => this.#state === 'live' && this.#renewIn(nextMs),
        (error: unknown) => {
          if (this.#state !== 'live') return;
          this.#stats.failedRenewals += 1;
          const leftMs = Math.round(this.#aliveUntilMs - this.#clock.nowMs());
          const fields = { leftMs, reason: describeError(error) };
          this.#log.warn(fields, 'the session could not be renewed yet');
          this.#renewIn(SESSION_RETRY_MS);
        },
      );
    });
  }

  /** Resolves to when to renew again; rejects when it is not known whether this renewal counts. */
  async #renew(): Promise<number> {
    const sentMs = this.#clock.nowMs();
    // A third of the time for an answer leaves the last third for one more attempt.
    const nextMs = this.ttlMs / SESSION_RENEWALS_PER_TTL;
    const request = { ID: this.leaseId };
    const answer = await this.#client.callOnStream(etcdMethods.leaseKeepAlive, request, nextMs);
    if (this.#state !== 'live') return nextMs;
    const ttlMs = Number(answer.TTL) * 1000;
    if (ttlMs > 0) {
      this.#stats.renewals += 1;
      this.#aliveUntilMs = Math.max(this.#aliveUntilMs, sentMs + ttlMs);
    } else {
      this.#lose();
    }
    return nextMs;
  }
}
