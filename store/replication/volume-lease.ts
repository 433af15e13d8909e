/**
 * The lease of one volume while it is held: the right to write it, and the only way to change its
 * in-sync set.
 *
 * Owns: watching over the lease; the volume's record as the holder knows it; every compare-and-swap
 * on the in-sync set. Does not own: how a lease is taken and given back (`VolumeDirectory`), nor
 * who is in sync, and why.
 * Invariants: the epoch of the record was raised by this lease, and as long as the record has this
 * epoch nobody else has changed the in-sync set. A lease that is lost stays lost. The lease is over
 * by its holder's own clock earlier than the control plane would say so.
 */
import type { ReplicaSetRecord } from '../control/replica-set-record.ts';
import type {
  LeaseHolder,
  VolumeLease as TakenLease,
  VolumeDirectory,
  VolumeEntry,
} from '../control/volume-directory.ts';
import type { VolumeRecord } from '../control/volume-record.ts';
import { type Clock, sleep } from '../runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import { CONTROL_RETRY_MS } from './limits.ts';

export interface LeaseOptions {
  readonly directory: VolumeDirectory;
  readonly holder: LeaseHolder;
  readonly clock: Clock;
  readonly log: Logger;
  readonly volumeName: string;
  readonly leaseMarginMs: number;
  /** Where the copies are of a volume whose record does not say it. */
  readonly replicasUnlessNamed?: ReplicaSetRecord | undefined;
}

/** A volume's record that names its replicas. */
export type ReplicatedVolumeRecord = VolumeRecord & { readonly replicas: ReplicaSetRecord };

export type InSyncChange = Pick<ReplicaSetRecord, 'inSync' | 'directories'>;

export class VolumeLease {
  readonly volumeId: number;
  readonly epoch: number;
  readonly #options: LeaseOptions;
  readonly #taken: TakenLease;
  readonly #onLost: ((error: DroverError) => void)[] = [];
  readonly #replicasUnlessNamed: ReplicaSetRecord | undefined;
  #entry: VolumeEntry;
  #lost: DroverError | undefined;

  private constructor(options: LeaseOptions, taken: TakenLease) {
    this.#options = options;
    this.#taken = taken;
    this.#entry = taken;
    this.#replicasUnlessNamed = options.replicasUnlessNamed;
    this.volumeId = taken.record.id;
    this.epoch = taken.record.epoch;
  }

  /**
   * Takes the lease. Errors: those of `VolumeDirectory.takeLease`; `invalid` if neither the record
   * nor the options say where the copies are.
   */
  static async take(options: LeaseOptions): Promise<VolumeLease> {
    const { directory, volumeName, holder } = options;
    const lease = new VolumeLease(options, await directory.takeLease(volumeName, holder));
    if (lease.#entry.record.replicas === undefined && lease.#replicasUnlessNamed === undefined) {
      await lease.release();
      throw new DroverError('invalid', `the record of volume ${volumeName} names no replicas`);
    }
    return lease;
  }

  /** The volume's record as of the last change made here. */
  get record(): ReplicatedVolumeRecord {
    const { record } = this.#entry;
    return { ...record, replicas: record.replicas ?? this.#replicasUnlessNamed! };
  }

  /** Why the lease is over, if it is. */
  get lost(): DroverError | undefined {
    return this.#lost;
  }

  /** Hot path. Whether the lease is held now; once false, it stays false. */
  holds(): boolean {
    if (this.#lost !== undefined) return false;
    const { clock, holder, leaseMarginMs } = this.#options;
    if (clock.nowMs() < holder.session.aliveUntilMs() - leaseMarginMs) return true;
    this.lose('it was not renewed in time');
    return false;
  }

  /** Calls `listener` once, when the lease is lost. */
  onLost(listener: (error: DroverError) => void): void {
    this.#onLost.push(listener);
  }

  lose(reason: string): void {
    if (this.#lost !== undefined) return;
    const { volumeName, log } = this.#options;
    const error = new DroverError(
      'fenced',
      `the lease of volume ${volumeName} (epoch ${this.epoch}) is over: ${reason}`,
    );
    this.#lost = error;
    log.error({ volume: volumeName, epoch: this.epoch, reason }, 'the lease is lost');
    for (const listener of this.#onLost) listener(error);
  }

  /**
   * Writes the in-sync set that `wanted` gives, which is asked again before each attempt; resolves
   * to the set that is surely in the record then. Waits while the control plane is unreachable.
   * Rejects when the lease is over.
   */
  async changeInSync(wanted: () => InSyncChange): Promise<readonly string[]> {
    const { directory, clock, log, volumeName } = this.#options;
    for (;;) {
      if (!this.holds()) throw this.#lost!;
      const record = { ...this.record, replicas: { ...this.record.replicas, ...wanted() } };
      try {
        this.#entry = await directory.swap(this.#entry, record);
        return record.replicas.inSync;
      } catch (error) {
        if (!isDroverError(error, 'conflict')) {
          const reason = describeError(error);
          log.warn({ volume: volumeName, reason }, 'the in-sync set cannot be changed yet');
          await sleep(clock, CONTROL_RETRY_MS);
        }
        await this.#reread();
      }
    }
  }

  /** Gives the lease back, if it is still there; an error only delays the next holder. */
  async release(): Promise<void> {
    if (this.#lost !== undefined) return;
    const { directory, log, volumeName } = this.#options;
    this.#lost = new DroverError('unavailable', `volume ${volumeName} is detached`);
    try {
      await directory.releaseLease(this.#taken);
    } catch (error) {
      log.warn(
        { volume: volumeName, reason: describeError(error) },
        'the lease was not given back; it ends with its session',
      );
    }
  }

  /** Learns the newest record; finds out here if somebody else has the volume. */
  async #reread(): Promise<void> {
    const { directory, log, volumeName } = this.#options;
    let found: VolumeEntry | undefined;
    try {
      found = await directory.get(volumeName);
    } catch (error) {
      log.warn({ volume: volumeName, reason: describeError(error) }, 'control plane unreachable');
      return;
    }
    if (found === undefined || found.record.id !== this.volumeId) {
      this.lose('the volume was removed');
    } else if (found.record.epoch !== this.epoch) {
      this.lose(`another holder has epoch ${found.record.epoch}`);
    } else {
      this.#entry = found;
    }
  }
}
