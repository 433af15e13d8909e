/**
 * Taking part in the election of the steward for as long as the process lives.
 *
 * Owns: beginning again under a new session when the old one is over. Does not own what a steward
 * does (`store/replication/steward.ts`).
 */
import type { SessionKeeper } from '../../../store/control/session-keeper.ts';
import {
  Steward,
  type StewardOptions,
  type TendedVolume,
} from '../../../store/replication/steward.ts';
import { sleep } from '../../../store/runtime/clock.ts';
import { DroverError, describeError } from '../../../store/runtime/drover-error.ts';

export interface StewardshipOptions extends Omit<StewardOptions, 'session'> {
  readonly sessions: SessionKeeper;
}

const LOOK_MS = 1_000;

export class Stewardship {
  readonly #options: StewardshipOptions;
  #isStopped = false;
  #steward: Steward | undefined;
  #running: Promise<void> | undefined;
  readonly #stopped = Promise.withResolvers<void>();

  constructor(options: StewardshipOptions) {
    this.#options = options;
  }

  /** The volumes that are tended here now. */
  tended(): TendedVolume[] {
    return this.#steward?.tended() ?? [];
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when no volume is tended here any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopped.resolve();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    while (!this.#isStopped) {
      try {
        await this.#serveSession();
      } catch (error) {
        if (!(error instanceof DroverError)) throw error;
        log.warn({ reason: describeError(error) }, 'no part in the election of a steward yet');
        await Promise.race([sleep(clock, LOOK_MS), this.#stopped.promise]);
      }
    }
  }

  async #serveSession(): Promise<void> {
    const { sessions, clock } = this.#options;
    const session = await sessions.current();
    const steward = new Steward({ ...this.#options, session });
    this.#steward = steward;
    steward.start();
    while (!this.#isStopped && clock.nowMs() < session.aliveUntilMs()) {
      await Promise.race([sleep(clock, LOOK_MS), this.#stopped.promise]);
    }
    await steward.stop();
  }
}
