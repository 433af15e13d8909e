/**
 * The volumes that this process offers: which there are, which are attached, and who uses them.
 *
 * Owns: attaching at the first use, and administration. Does not own: the view of the records
 * (`VolumeRecords`), the life of an attachment (`VolumeSlot`), how a volume is attached
 * (`AttachVolume`), nor what is in its cache.
 * Invariants: a volume is attached once at most, and not before the last attachment has ended;
 * nobody opens one that is being removed.
 */
import type { ControlPlane } from '../../store/control/control-plane.ts';
import type { NewVolume, VolumeDirectory } from '../../store/control/volume-directory.ts';
import type { VolumeRecord } from '../../store/control/volume-record.ts';
import type { VerifyOptions, VerifyReport } from '../../store/replication/verify.ts';
import type { Clock } from '../../store/runtime/clock.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import type { Logger } from '../../store/runtime/logger.ts';
import type { BlockDevice } from './block-device.ts';
import type { ExportCatalog, ExportDescription, ExportUse } from './export-catalog.ts';
import type { AttachVolume, VolumeReplication } from './volume-attachment.ts';
import { VolumeRecords } from './volume-records.ts';
import { AttachmentStats, VolumeSlot } from './volume-slot.ts';
import type { VolumeWishes } from './volume-wishes.ts';

export interface VolumeRegistryOptions {
  readonly control: Pick<ControlPlane, 'watch'>;
  readonly directory: VolumeDirectory;
  /** Under this name `attach` takes leases. */
  readonly holderId: string;
  readonly attach: AttachVolume;
  readonly wishes: VolumeWishes;
  readonly clock: Clock;
  readonly log: Logger;
  /** A volume without users is given back after this, or when another gateway wishes for it; if
   * left out, it stays attached. */
  readonly idleDetachMs?: number | undefined;
  /** Where the copies of a new volume are to be. */
  readonly place?: NewVolume['place'];
}

/** A volume as administration and protocol servers see it. */
export interface VolumeSummary extends ExportDescription {
  readonly id: number;
  readonly objectBytes: number;
  readonly epoch: number;
  /** Whether this process holds the volume's lease and has it in its cache. */
  readonly isAttached: boolean;
  readonly clientCount: number;
  readonly dirtyBytes: number;
}

/** An attached volume's replication, for status and metrics. */
export interface AttachedReplication {
  readonly name: string;
  readonly replication: VolumeReplication;
}

export class VolumeRegistry implements ExportCatalog {
  readonly #options: VolumeRegistryOptions;
  readonly #records: VolumeRecords;
  readonly #slots = new Map<string, VolumeSlot>();
  /** Volumes whose removal is under way. */
  readonly #removing = new Set<string>();
  /** Attachments that are ending; the next one of the same volume waits. */
  readonly #ending = new Map<string, Promise<void>>();
  readonly stats = new AttachmentStats();
  #isClosed = false;

  /** Errors: `corrupt` for a malformed record, `unavailable`. */
  static async open(options: VolumeRegistryOptions): Promise<VolumeRegistry> {
    const registry = new VolumeRegistry(options);
    try {
      await registry.#records.start();
      await options.wishes.start((volumeId) => registry.#onWish(volumeId));
      return registry;
    } catch (error) {
      registry.#stopFollowing();
      throw error;
    }
  }

  private constructor(options: VolumeRegistryOptions) {
    this.#options = options;
    const { control, directory, log } = options;
    const onChange = (name: string, record: VolumeRecord | undefined): void =>
      this.#follow(name, record);
    this.#records = new VolumeRecords({ control, directory, log, onChange });
  }

  list(): readonly VolumeSummary[] {
    return this.#records.list().map((record) => this.#summaryOf(record));
  }

  find(name: string): VolumeSummary | undefined {
    const record = this.#records.find(name);
    return record && this.#summaryOf(record);
  }

  /** The replication of every volume that is attached here. */
  attached(): AttachedReplication[] {
    return [...this.#slots.values()].flatMap(({ name, attachment }) =>
      attachment === undefined ? [] : [{ name, replication: attachment.replication }],
    );
  }

  /** The records as this process knows them, in the order of their names. */
  records(): readonly VolumeRecord[] {
    return this.#records.list();
  }

  /** Error: `notFound`. */
  show(name: string): VolumeSummary {
    return this.#summaryOf(this.#records.existing(name));
  }

  /** Errors: `invalid`, `exists`, `unavailable`. */
  async create(volume: NewVolume): Promise<VolumeSummary> {
    this.#checkOpen();
    const entry = await this.#options.directory.create({ place: this.#options.place, ...volume });
    this.#records.note(entry);
    return this.#summaryOf(entry.record);
  }

  /**
   * Grows a volume; who opens it from now on sees the new size.
   * Errors: `notFound`, `invalid`, `unavailable`.
   */
  async resize(name: string, sizeBytes: number): Promise<VolumeSummary> {
    this.#checkOpen();
    const entry = await this.#options.directory.resize(name, sizeBytes);
    this.#records.note(entry);
    return this.#summaryOf(entry.record);
  }

  /**
   * Makes a volume read-only, or writable again, for who opens it from now on.
   * Errors: `notFound`, `unavailable`.
   */
  async setReadOnly(name: string, isReadOnly: boolean): Promise<VolumeSummary> {
    this.#checkOpen();
    const entry = await this.#options.directory.setReadOnly(name, isReadOnly);
    this.#records.note(entry);
    return this.#summaryOf(entry.record);
  }

  async open(name: string, use: ExportUse): Promise<BlockDevice> {
    return this.#slotOf(name).open(use);
  }

  /**
   * Compares the copies of a volume, which is attached for that if need be.
   * Errors: those of `open`; `fenced` if the lease is lost meanwhile.
   */
  async verify(name: string, options: VerifyOptions): Promise<VerifyReport> {
    return this.#slotOf(name).verify(options);
  }

  /**
   * Removes a volume with everything in it. While clients use it, it is refused as `busy`, unless
   * forced: then they are detached. Errors: `notFound`, `busy`, `unavailable`.
   */
  async remove(name: string, options: { readonly force?: boolean } = {}): Promise<void> {
    this.#checkOpen();
    this.#checkStays(name);
    this.#removing.add(name);
    try {
      await this.#removeVolume(name, options.force === true);
    } finally {
      this.#removing.delete(name);
      this.#slots.get(name)?.detachWhenIdle();
    }
  }

  async #removeVolume(name: string, force: boolean): Promise<void> {
    const { directory, holderId, wishes } = this.#options;
    const slot = this.#slots.get(name);
    await slot?.settled();
    const userCount = slot?.userCount ?? 0;
    if (userCount > 0 && !force) {
      const clients = userCount === 1 ? '1 client' : `${userCount} clients`;
      throw new DroverError('busy', `volume ${name} is in use by ${clients}`);
    }
    const reason = `volume ${name} is being removed`;
    slot?.detachUsers(reason);
    // Until the record is gone nothing is given up: if this fails, the volume is as it was.
    // What it had on the nodes is removed by those who keep it, when they hear of that.
    await wishes.untilGivenBack(name, () => directory.remove(name, { holderId, force }));
    this.#records.forget(name);
    await slot?.discard(reason);
  }

  /**
   * Flushes and detaches every volume; nothing is opened any more.
   * Error: `unavailable` naming the volumes that could not be flushed, with the first cause.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopFollowing();
    const failures: { name: string; error: unknown }[] = [];
    await Promise.all(
      [...this.#slots.values()].map(async (slot) => {
        try {
          await slot.close('the server is stopping');
        } catch (error) {
          failures.push({ name: slot.name, error });
        }
      }),
    );
    await Promise.all(this.#ending.values());
    if (failures.length === 0) return;
    const names = failures.map((failure) => failure.name).join(', ');
    throw new DroverError(
      'unavailable',
      `not everything was flushed: ${names}`,
      failures[0]!.error,
    );
  }

  #slotOf(name: string): VolumeSlot {
    this.#checkOpen();
    const record = this.#records.existing(name);
    this.#checkStays(record.name);
    return this.#slots.get(record.name) ?? this.#startAttaching(record.name);
  }

  #startAttaching(name: string): VolumeSlot {
    const { attach, clock, log, idleDetachMs, wishes } = this.#options;
    const { id } = this.#records.existing(name);
    const slot = new VolumeSlot({
      ...{ name, attach, clock, log, idleDetachMs, stats: this.stats },
      isWished: () => wishes.isWished(id),
      after: this.#ending.get(name),
      mayDetach: () => !this.#isClosed && !this.#removing.has(name),
      onAttached: () => this.#follow(name, this.#records.find(name)),
      onGone: (ended) => this.#onGone(slot, ended),
    });
    this.#slots.set(name, slot);
    return slot;
  }

  #onGone(slot: VolumeSlot, ended: Promise<void>): void {
    const { name } = slot;
    if (this.#slots.get(name) === slot) this.#slots.delete(name);
    const settled = ended.finally(() => {
      if (this.#ending.get(name) === settled) this.#ending.delete(name);
    });
    this.#ending.set(name, settled);
  }

  #stopFollowing(): void {
    this.#records.stop();
    this.#options.wishes.stop();
  }

  #onWish(volumeId: number): void {
    for (const slot of this.#slots.values()) {
      if (slot.attachment?.record.id === volumeId) slot.detachWhenIdle();
    }
  }

  /** Makes an attached volume do what its record says, whoever changed it. */
  #follow(name: string, record: VolumeRecord | undefined): void {
    const slot = this.#slots.get(name);
    // A removal under way ends it by itself; one being attached follows when it is attached.
    if (slot?.isAttached !== true || this.#removing.has(name)) return;
    const { record: old, volume } = slot.attachment!;
    if (record?.id === old.id) volume.follow(record);
    else slot.discardInBackground(`volume ${name} was removed`);
  }

  #summaryOf(record: VolumeRecord): VolumeSummary {
    const slot = this.#slots.get(record.name);
    const { id, name, sizeBytes, objectBytes, epoch, isReadOnly } = record;
    return {
      id,
      name,
      description: '',
      sizeBytes,
      objectBytes,
      epoch,
      isReadOnly,
      isAttached: slot?.attachment !== undefined,
      clientCount: slot?.userCount ?? 0,
      dirtyBytes: slot?.attachment?.volume.dirtyBytes ?? 0,
    };
  }

  #checkStays(name: string): void {
    if (!this.#removing.has(name)) return;
    throw new DroverError('busy', `volume ${name} is being removed`);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new DroverError('unavailable', 'the server is stopping');
  }
}
