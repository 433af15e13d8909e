/**
 * The highest lease epoch that this node was told, for each volume.
 *
 * Owns: the durable epochs, and those on their way to the log. Does not own: the records.
 * Invariant: `durable <= told`; a writer is fenced by what was told, and told again only what is
 * durable counts as adopted.
 */
import { DroverError } from '../runtime/drover-error.ts';

/**
 * No volume has this id: its epoch counts the openings of the directory. So each opening leaves a
 * batch in the log, and a copy made before it ends earlier, whatever was written since.
 */
export const OPENINGS_VOLUME_ID = 0;

export class VolumeEpochs {
  readonly #told = new Map<number, number>();
  readonly #durable = new Map<number, number>();
  #changed = new Set<number>();

  durable(volumeId: number): number {
    return this.#durable.get(volumeId) ?? 0;
  }

  /** Hot path. True if a writer with this epoch must be refused. */
  isFenced(volumeId: number, epoch: number): boolean {
    const told = this.#told.get(volumeId);
    return told !== undefined && epoch < told;
  }

  fencedError(volumeId: number, epoch: number): DroverError {
    const told = this.#told.get(volumeId) ?? 0;
    return new DroverError('fenced', `volume ${volumeId} is at epoch ${told}, not ${epoch}`);
  }

  /** Hot path. The epoch is part of a record that was queued; it is not lower than what was told. */
  tell(volumeId: number, epoch: number): void {
    if (this.#told.get(volumeId) !== epoch) this.#told.set(volumeId, epoch);
  }

  /** Hot path. A record with this epoch is durable. */
  becameDurable(volumeId: number, epoch: number): void {
    const durable = this.#durable.get(volumeId);
    if (durable !== undefined && epoch <= durable) return;
    this.#durable.set(volumeId, epoch);
    this.#changed.add(volumeId);
    if ((this.#told.get(volumeId) ?? 0) < epoch) this.#told.set(volumeId, epoch);
  }

  /** What the index on disk says; called before replay. */
  restore(volumeId: number, epoch: number): void {
    this.#durable.set(volumeId, epoch);
    this.#told.set(volumeId, epoch);
  }

  /** Volumes whose durable epoch changed since the last call. */
  takeChanged(): Set<number> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  /** The checkpoint that was to store them failed. */
  putBackChanged(volumeIds: ReadonlySet<number>): void {
    for (const volumeId of volumeIds) this.#changed.add(volumeId);
  }
}
