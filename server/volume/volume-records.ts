/**
 * The volumes' records as this process knows them, following the control plane.
 *
 * Owns: the view, and what a change means to the volume that it is about. Does not own attachments.
 * Invariant: a record is never replaced by an older one.
 */
import type { ControlChange, ControlPlane } from '../../store/control/control-plane.ts';
import {
  type VolumeDirectory,
  type VolumeEntry,
  volumeEntryOf,
} from '../../store/control/volume-directory.ts';
import { VOLUMES_PREFIX, type VolumeRecord } from '../../store/control/volume-record.ts';
import { DroverError, describeError } from '../../store/runtime/drover-error.ts';
import type { Logger } from '../../store/runtime/logger.ts';

export interface VolumeRecordsOptions {
  readonly control: Pick<ControlPlane, 'watch'>;
  readonly directory: VolumeDirectory;
  readonly log: Logger;
  /** Told of the newest record of a volume; `undefined` when it is gone. */
  readonly onChange: (name: string, record: VolumeRecord | undefined) => void;
}

export class VolumeRecords {
  readonly #options: VolumeRecordsOptions;
  readonly #entries = new Map<string, VolumeEntry>();
  #endWatch: (() => void) | undefined;

  constructor(options: VolumeRecordsOptions) {
    this.#options = options;
  }

  /** Errors: `corrupt` for a malformed record, `unavailable`. */
  async start(): Promise<void> {
    const { control, directory } = this.#options;
    // Watching before listing: what changes in between arrives as a change.
    this.#endWatch = await control.watch(VOLUMES_PREFIX, (change) => this.#onChange(change));
    for (const entry of await directory.list()) this.note(entry);
  }

  stop(): void {
    this.#endWatch?.();
  }

  /** In the order of their names. */
  list(): VolumeRecord[] {
    const records = [...this.#entries.values()].map((entry) => entry.record);
    return records.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The empty name means the only volume, where there is just one. */
  find(name: string): VolumeRecord | undefined {
    if (name !== '') return this.#entries.get(name)?.record;
    if (this.#entries.size !== 1) return undefined;
    const [only] = this.#entries.values();
    return only!.record;
  }

  /** As `find`. Error: `notFound`. */
  existing(name: string): VolumeRecord {
    const record = this.find(name);
    if (record !== undefined) return record;
    if (name !== '') throw new DroverError('notFound', `there is no volume ${name}`);
    throw new DroverError(
      'notFound',
      `the empty name means the only volume, and there are ${this.#entries.size}`,
    );
  }

  /** Takes in a record that was read or written here, ahead of the watch. */
  note(entry: VolumeEntry): void {
    const { name } = entry.record;
    const known = this.#entries.get(name);
    if (known !== undefined && known.revision > entry.revision) return;
    this.#entries.set(name, entry);
    this.#options.onChange(name, entry.record);
  }

  forget(name: string): void {
    this.#entries.delete(name);
    this.#options.onChange(name, undefined);
  }

  #onChange({ key, record }: ControlChange): void {
    if (record === undefined) {
      this.forget(key.slice(VOLUMES_PREFIX.length));
      return;
    }
    try {
      this.note(volumeEntryOf(record));
    } catch (error) {
      this.#options.log.error({ key, reason: describeError(error) }, 'ignored a volume record');
    }
  }
}
