/**
 * Looking at nodes, waiting writes and the lease, several times a second.
 *
 * Owns: the decision that a node has failed, that a restarted node has to be compared, that a write
 * has waited for too long. Does not own: what follows (replica set, writer, reader).
 * A watch that comes late was held up by its own process, and judges nobody until what is waiting
 * in the sockets could be read.
 */
import type { Clock, TimerHandle } from '../runtime/clock.ts';
import {
  RESYNC_BACKOFF_MAX_MS,
  type ReplicationTimes,
  WATCH_INTERVAL_MS,
  WATCH_LATE_MS,
} from './limits.ts';
import type { Reader } from './reader.ts';
import type { Replica } from './replica.ts';
import type { RestartCheck } from './restart-check.ts';
import type { VolumeContext } from './volume-context.ts';
import type { Writer } from './writer.ts';

export interface FailureWatchParts {
  readonly context: VolumeContext;
  readonly writer: Writer;
  readonly reader: Reader;
  readonly restartCheck: RestartCheck;
  readonly times: ReplicationTimes;
}

export class FailureWatch {
  readonly #parts: FailureWatchParts;
  readonly #clock: Clock;
  #timer: TimerHandle | undefined;
  #lastMs: number;
  #judgeFromMs = 0;

  constructor(parts: FailureWatchParts) {
    this.#parts = parts;
    this.#clock = parts.context.clock;
    this.#lastMs = this.#clock.nowMs();
  }

  start(): void {
    this.#timer = this.#clock.setTimer(WATCH_INTERVAL_MS, () => {
      this.#look();
      if (this.#parts.context.lease.lost === undefined) this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #look(): void {
    const { context, writer, reader, times } = this.#parts;
    if (!context.lease.holds()) return;
    const nowMs = this.#clock.nowMs();
    const gapMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    if (gapMs > WATCH_LATE_MS) this.#judgeFromMs = nowMs + WATCH_LATE_MS;
    if (nowMs < this.#judgeFromMs) return;
    for (const replica of context.set.replicas) this.#judge(replica, nowMs);
    if (times.stallTimeoutMs !== undefined) {
      writer.failStalled(nowMs - times.stallTimeoutMs);
      reader.failStalled(nowMs - times.stallTimeoutMs);
    }
  }

  #judge(replica: Replica, nowMs: number): void {
    const { context, restartCheck } = this.#parts;
    if (replica.is('out') || replica.is('leaving')) return;
    const failure = this.#failureOf(replica, nowMs);
    if (failure !== undefined && context.set.replicas.length > 1) {
      context.set.drop(replica, failure);
      replica.link.abandon(failure);
      return;
    }
    if (!replica.isLive) return;
    if (nowMs - replica.stateSinceMs > RESYNC_BACKOFF_MAX_MS) replica.failedResyncs = 0;
    const openId = replica.link.openId();
    if (openId !== undefined && openId !== replica.openId) restartCheck.start(replica, openId);
  }

  #failureOf(replica: Replica, nowMs: number): string | undefined {
    const { writer, times } = this.#parts;
    const refusedSinceMs = replica.link.refusedSinceMs();
    if (refusedSinceMs !== undefined && nowMs - refusedSinceMs > times.refusedLimitMs) {
      return `it refuses connections for more than ${times.refusedLimitMs} ms`;
    }
    const silentSinceMs = replica.link.silentSinceMs();
    const owedSinceMs = writer.owedSinceMs(replica);
    const sinceMs = Math.min(silentSinceMs ?? nowMs, owedSinceMs ?? nowMs);
    return nowMs - sinceMs > times.silentLimitMs
      ? `it is silent for more than ${times.silentLimitMs} ms`
      : undefined;
  }
}
