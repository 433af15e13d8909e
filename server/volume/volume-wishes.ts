/**
 * Gateways asking each other for volumes: what the others wish for, and wishing ourselves.
 *
 * Owns: the view of the others' wishes, our own wish's record, and the waiting for it. Does not own
 * whether a volume can be given back (`VolumeSlot`).
 * Why: who holds a volume without clients may keep it, and its cache, until somebody needs it.
 */
import type { ControlPlane } from '../../store/control/control-plane.ts';
import type { SessionKeeper } from '../../store/control/session-keeper.ts';
import type { VolumeDirectory } from '../../store/control/volume-directory.ts';
import { WISHES_PREFIX, wishKey, wishOf } from '../../store/control/volume-wish.ts';
import { type Clock, sleep } from '../../store/runtime/clock.ts';
import { describeError, isDroverError } from '../../store/runtime/drover-error.ts';
import type { Logger } from '../../store/runtime/logger.ts';

export interface VolumeWishesOptions {
  readonly control: Pick<ControlPlane, 'watch' | 'list' | 'commit'>;
  readonly directory: Pick<VolumeDirectory, 'get'>;
  readonly sessions: Pick<SessionKeeper, 'current'>;
  readonly holderId: string;
  /** How long to wait for another holder's volume. */
  readonly patienceMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

const RETRY_MS = 100;

export class VolumeWishes {
  readonly #options: VolumeWishesOptions;
  /** Keys of the others' wishes, by volume. */
  readonly #wishes = new Map<number, Set<string>>();
  #onWish: (volumeId: number) => void = () => undefined;
  #endWatch: (() => void) | undefined;

  constructor(options: VolumeWishesOptions) {
    this.#options = options;
  }

  /** `onWish` hears of each new wish of others. Error: `unavailable`. */
  async start(onWish: (volumeId: number) => void): Promise<void> {
    const { control } = this.#options;
    this.#onWish = onWish;
    // Watching before listing: what changes in between arrives as a change.
    this.#endWatch = await control.watch(WISHES_PREFIX, ({ key, record }) =>
      this.#note(key, record !== undefined),
    );
    for (const { key } of await control.list(WISHES_PREFIX)) this.#note(key, true);
  }

  stop(): void {
    this.#endWatch?.();
  }

  /** Whether another gateway waits for the volume. */
  isWished(volumeId: number): boolean {
    return this.#wishes.has(volumeId);
  }

  /**
   * Does `attempt`, and again while it is refused as `busy`, having asked the holder to give the
   * volume back. Errors: those of `attempt`, with `busy` when the holder did not in time.
   */
  async untilGivenBack<T>(volumeName: string, attempt: () => Promise<T>): Promise<T> {
    const { clock, patienceMs } = this.#options;
    const endMs = clock.nowMs() + patienceMs;
    let takeBack = async (): Promise<void> => undefined;
    let isAsked = false;
    try {
      for (;;) {
        try {
          return await attempt();
        } catch (error) {
          if (!isDroverError(error, 'busy') || clock.nowMs() >= endMs) throw error;
        }
        if (!isAsked) takeBack = await this.#ask(volumeName);
        isAsked = true;
        await sleep(clock, RETRY_MS);
      }
    } finally {
      await takeBack();
    }
  }

  /** Resolves to what takes the wish back. */
  async #ask(volumeName: string): Promise<() => Promise<void>> {
    const { control, directory, sessions, holderId, log } = this.#options;
    const entry = await directory.get(volumeName);
    if (entry === undefined) return async () => undefined;
    const key = wishKey(entry.record.id, holderId);
    const session = await sessions.current();
    await control.commit({ expect: [], put: [{ key, value: { holderId }, session }] });
    return async () => {
      try {
        await control.commit({ expect: [], remove: [key] });
      } catch (error) {
        // It ends with the session; until then the next holder gives an idle volume back early.
        log.warn({ key, reason: describeError(error) }, 'a wish was not taken back');
      }
    };
  }

  #note(key: string, isThere: boolean): void {
    const wish = wishOf(key);
    if (wish === undefined || wish.holderId === this.#options.holderId) return;
    const { volumeId } = wish;
    const keys = this.#wishes.get(volumeId) ?? new Set();
    if (isThere) keys.add(key);
    else keys.delete(key);
    if (keys.size > 0) this.#wishes.set(volumeId, keys);
    else this.#wishes.delete(volumeId);
    if (isThere) this.#onWish(volumeId);
  }
}
