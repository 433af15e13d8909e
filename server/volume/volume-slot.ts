/**
 * One attachment of a volume, from the wish for it to its end.
 *
 * Owns: its users, what keeps it attached, giving it back when it is idle, and ending it. Does not
 * own how a volume is attached (`AttachVolume`), nor which volumes are.
 *
 * attaching → attached → gone (closed, removed, idle, lease lost), or attaching → gone when it
 * fails. What is dirty when the last user leaves is flushed; a volume that cannot be flushed stays
 * attached.
 */
import type { VerifyOptions, VerifyReport } from '../../store/replication/verify.ts';
import type { Clock, TimerHandle } from '../../store/runtime/clock.ts';
import { DroverError, describeError } from '../../store/runtime/drover-error.ts';
import type { Logger } from '../../store/runtime/logger.ts';
import type { ExportUse } from './export-catalog.ts';
import type { AttachVolume, VolumeAttachment } from './volume-attachment.ts';
import { VolumeUse } from './volume-use.ts';

/** What happened to the volumes of a process since its start. */
export class AttachmentStats {
  leaseLosses = 0;
  /** Requests refused because the lease was over. */
  fencedRequests = 0;
  /** Written, never flushed, and given up with a lease. */
  discardedBytes = 0;
}

export interface VolumeSlotOptions {
  readonly name: string;
  readonly attach: AttachVolume;
  /** The end of the last attachment of this volume. */
  readonly after: Promise<void> | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Without users it is given back after this; `undefined`: it stays. */
  readonly idleDetachMs: number | undefined;
  /** Whether somebody else waits for it: then it is given back as soon as it has no users. */
  readonly isWished: () => boolean;
  readonly stats: AttachmentStats;
  /** Whether it may be given back now if nobody uses it. */
  readonly mayDetach: () => boolean;
  readonly onAttached: () => void;
  /** It is used no more; `ended` settles when nothing of it is under way any more. */
  readonly onGone: (ended: Promise<void>) => void;
}

const FLUSH_RETRY_MS = 1000;

export class VolumeSlot {
  readonly name: string;
  readonly #options: VolumeSlotOptions;
  readonly #uses = new Set<VolumeUse>();
  readonly #attached: Promise<VolumeAttachment>;
  #state: 'attaching' | 'attached' | 'gone' = 'attaching';
  #attachment: VolumeAttachment | undefined;
  /** The comparisons under way; they need it attached as users do. */
  readonly #comparisons = new Set<AbortController>();
  #idleTimer: TimerHandle | undefined;

  constructor(options: VolumeSlotOptions) {
    this.name = options.name;
    this.#options = options;
    const attach = () => options.attach(this.name, (reason) => this.#onLost(reason));
    this.#attached = options.after === undefined ? attach() : options.after.then(attach);
    this.#attached.then(
      (attachment) => {
        this.#attachment = attachment;
        this.#state = 'attached';
        options.onAttached();
        // Who asked may have gone while it was attached.
        this.detachWhenIdle();
      },
      (error: unknown) => {
        this.#state = 'gone';
        options.onGone(Promise.resolve());
        options.log.warn({ volume: this.name, reason: describeError(error) }, 'cannot attach');
      },
    );
  }

  /** `undefined` until it is attached. */
  get attachment(): VolumeAttachment | undefined {
    return this.#attachment;
  }

  get isAttached(): boolean {
    return this.#state === 'attached';
  }

  get userCount(): number {
    return this.#uses.size;
  }

  /** Resolves when it is attached or has failed. */
  async settled(): Promise<void> {
    await this.#attached.catch(() => undefined);
  }

  /** Errors: those of attaching; `unavailable` if it was detached again meanwhile. */
  async open(use: ExportUse): Promise<VolumeUse> {
    const { volume, replication } = await this.#usable();
    const { stats } = this.#options;
    const guard = {
      leaseHolds: () => replication.leaseHolds(),
      onFenced: () => {
        stats.fencedRequests += 1;
      },
    };
    const opened = new VolumeUse(
      volume.openDevice(),
      guard,
      (reason) => use.onDetach(reason),
      (closed) => this.#onClosed(closed),
    );
    this.#idleTimer?.cancel();
    this.#uses.add(opened);
    return opened;
  }

  /**
   * Errors: as `open`, and those of a flush and of a comparison; `unavailable` if it is given up
   * for somebody else's clients.
   */
  async verify(options: VerifyOptions): Promise<VerifyReport> {
    const { volume, replication } = await this.#usable();
    this.#idleTimer?.cancel();
    const comparison = new AbortController();
    const signals = [comparison.signal, ...(options.signal === undefined ? [] : [options.signal])];
    this.#comparisons.add(comparison);
    this.#giveUpWhenWished();
    try {
      await volume.flush();
      return await replication.verify({ ...options, signal: AbortSignal.any(signals) });
    } finally {
      this.#comparisons.delete(comparison);
      this.detachWhenIdle();
    }
  }

  detachUsers(reason: string): void {
    for (const use of [...this.#uses]) use.detach(reason);
  }

  /** Flushes and gives it back. Error: what could not be flushed; it is given back nevertheless. */
  async close(reason: string): Promise<void> {
    // Who asked for an attachment that fails is told of it by `open`.
    const attachment = await this.#attached.catch(() => undefined);
    if (attachment === undefined || this.#state === 'gone') return;
    await this.#end(reason, () => attachment.volume.close());
  }

  /** Gives it back without writing what is dirty. */
  async discard(reason: string): Promise<void> {
    // The lease may be lost before the attachment is complete; if it fails, `open` tells.
    const attachment = await this.#attached.catch(() => undefined);
    if (attachment === undefined || this.#state === 'gone') return;
    await this.#end(reason, () => attachment.volume.discard());
  }

  discardInBackground(reason: string): void {
    this.discard(reason).catch(() => {
      // Said by `#end`.
    });
  }

  /** Begins to wait for the time after which it is given back, if nobody uses it. */
  detachWhenIdle(): void {
    const { idleDetachMs, isWished } = this.#options;
    if (idleDetachMs === undefined) return;
    this.#giveUpWhenWished();
    this.#detachAfter(isWished() ? 0 : idleDetachMs);
  }

  /** A comparison may take hours; whoever wants to use the volume does not wait for it. */
  #giveUpWhenWished(): void {
    if (this.#uses.size > 0 || !this.#options.isWished()) return;
    const reason = `the comparison was given up: another gateway wants volume ${this.name}`;
    for (const comparison of this.#comparisons) {
      comparison.abort(new DroverError('unavailable', reason));
    }
  }

  #detachAfter(delayMs: number): void {
    const { clock, log } = this.#options;
    this.#idleTimer?.cancel();
    if (!this.#isIdle()) return;
    this.#idleTimer = clock.setTimer(delayMs, () => {
      this.#detachIdle().catch((error: unknown) => {
        const fields = { volume: this.name, reason: describeError(error) };
        log.warn(fields, 'an idle volume cannot be given back yet');
        this.#detachAfter(FLUSH_RETRY_MS);
      });
    });
  }

  async #usable(): Promise<VolumeAttachment> {
    const attachment = await this.#attached;
    if (this.#state === 'attached') return attachment;
    throw new DroverError('unavailable', `volume ${this.name} was detached again`);
  }

  #onClosed(use: VolumeUse): void {
    this.#uses.delete(use);
    if (!this.#isIdle()) return;
    this.#attachment!.volume.flush().then(
      () => this.detachWhenIdle(),
      (error: unknown) => {
        const fields = { volume: this.name, reason: describeError(error) };
        this.#options.log.error(fields, 'not everything is flushed after the last client left');
        this.detachWhenIdle();
      },
    );
  }

  /** Whether it is attached and nobody needs that. */
  #isIdle(): boolean {
    if (this.#uses.size > 0 || this.#comparisons.size > 0) return false;
    return this.#state === 'attached' && this.#options.mayDetach();
  }

  async #detachIdle(): Promise<void> {
    if (!this.#isIdle()) return;
    const { volume } = this.#attachment!;
    await volume.flush();
    // Somebody may have come meanwhile; without users nothing becomes dirty again.
    if (!this.#isIdle()) return;
    this.#options.log.info({ volume: this.name }, 'an idle volume is given back');
    this.#end('it is idle', () => volume.close()).catch(() => {
      // Said by `#end`.
    });
  }

  /** Takes it out of use at once, and ends it. */
  #end(reason: string, leaveCache: () => Promise<void>): Promise<void> {
    const { log, onGone } = this.#options;
    const { release } = this.#attachment!;
    this.#state = 'gone';
    this.#idleTimer?.cancel();
    this.detachUsers(reason);
    const ended = leaveCache().finally(release);
    onGone(
      ended.catch((error: unknown) => {
        const fields = { volume: this.name, reason: describeError(error) };
        log.error(fields, 'a volume was not detached properly');
      }),
    );
    return ended;
  }

  /** The lease is over: what is dirty can be written no more, by anyone. */
  #onLost(reason: DroverError): void {
    const { stats, log } = this.#options;
    const discardedBytes = this.#attachment?.volume.dirtyBytes ?? 0;
    stats.leaseLosses += 1;
    stats.discardedBytes += discardedBytes;
    const fields = { volume: this.name, reason: describeError(reason), discardedBytes };
    log.error(fields, 'detached; what was written and not flushed is lost');
    this.discardInBackground(describeError(reason));
  }
}
