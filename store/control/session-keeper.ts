/**
 * The session that a process works under, and a new one when that is over.
 *
 * Owns: which session is the current one. Does not own what was bound to the old one: its records
 * are gone, and whoever put them puts them again.
 */
import type { Clock } from '../runtime/clock.ts';
import type { ControlPlane, ControlSession } from './control-plane.ts';

export class SessionKeeper {
  readonly #control: ControlPlane;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  #session: ControlSession | undefined;
  #starting: Promise<ControlSession> | undefined;

  constructor(control: ControlPlane, clock: Clock, ttlMs: number) {
    this.#control = control;
    this.#clock = clock;
    this.#ttlMs = ttlMs;
  }

  /** A session that is alive. Error: `unavailable`. */
  current(): Promise<ControlSession> {
    const session = this.#session;
    if (session !== undefined && session.aliveUntilMs() > this.#clock.nowMs()) {
      return Promise.resolve(session);
    }
    this.#starting ??= this.#start();
    return this.#starting;
  }

  /** How long the current session would live on without a renewal; 0 when it is over. */
  leftMs(): number {
    const aliveUntilMs = this.#session?.aliveUntilMs() ?? Number.NEGATIVE_INFINITY;
    return Math.max(0, aliveUntilMs - this.#clock.nowMs());
  }

  async #start(): Promise<ControlSession> {
    try {
      this.#session = await this.#control.startSession(this.#ttlMs);
      return this.#session;
    } finally {
      this.#starting = undefined;
    }
  }
}
