/**
 * The volumes there are, and the right to write one: every change of a volume's record.
 *
 * Owns: creating, changing, removing and leasing volumes through the control plane. Does not own
 * what becomes of their data on the nodes.
 * Invariants: an id is never given twice; a volume never shrinks; a volume's epoch only grows; a
 * lease is taken only while nobody's live session holds one.
 */
import type { z } from 'zod';
import { OBJECT_BYTES_DEFAULT } from '../geometry.ts';
import { DroverError, isDroverError } from '../runtime/drover-error.ts';
import {
  type ControlPlane,
  type ControlRecord,
  type ControlSession,
  REVISION_NONE,
} from './control-plane.ts';
import { EPOCH_MAX, SWAP_ATTEMPTS_MAX } from './limits.ts';
import {
  type LeaseRecord,
  leaseKey,
  leaseRecordSchema,
  type ReplicaSetRecord,
} from './replica-set-record.ts';
import {
  NEXT_VOLUME_ID_KEY,
  nextVolumeIdSchema,
  objectSizeSchema,
  VOLUMES_PREFIX,
  type VolumeRecord,
  volumeKey,
  volumeNameSchema,
  volumeRecordSchema,
  volumeSizeSchema,
} from './volume-record.ts';

export interface NewVolume {
  readonly name: string;
  readonly sizeBytes: number;
  /** `OBJECT_BYTES_DEFAULT` if left out. */
  readonly objectBytes?: number | undefined;
  readonly isReadOnly?: boolean | undefined;
  /** Where its copies are to be, for the id that it gets. */
  readonly place?: ((volumeId: number) => ReplicaSetRecord) | undefined;
}

/** Who takes a lease, and the session that it is bound to. */
export interface LeaseHolder {
  readonly session: ControlSession;
  /** Names the holder in messages. */
  readonly holderId: string;
  readonly holderKind: LeaseRecord['holderKind'];
}

/** A volume's record, and the revision that its next change expects. */
export interface VolumeEntry {
  readonly record: VolumeRecord;
  readonly revision: number;
}

/** The right to write one volume, for as long as the session lives. */
export interface VolumeLease extends VolumeEntry {
  readonly session: ControlSession;
  /** Of the lease's own record. */
  readonly leaseRevision: number;
}

/** Checks a value from outside. Error: `invalid`, naming the value and what is allowed. */
function checked<T>(schema: z.ZodType<T>, what: string, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const allowed = parsed.error.issues[0]?.message ?? 'something else';
  throw new DroverError('invalid', `${what} ${JSON.stringify(value)} is not ${allowed}`);
}

/** Checks what a record holds. Error: `corrupt`. */
function parsedRecord<T>(schema: z.ZodType<T>, record: ControlRecord): T {
  const parsed = schema.safeParse(record.value);
  if (parsed.success) return parsed.data;
  throw new DroverError('corrupt', `control record ${record.key} is malformed`, parsed.error);
}

function heldBy(name: string, lease: LeaseRecord): DroverError {
  return new DroverError('busy', `volume ${name} is in use by ${lease.holderId}`);
}

/** A record of `volumes/…` as an entry. Error: `corrupt`. */
export function volumeEntryOf(record: ControlRecord): VolumeEntry {
  return { record: parsedRecord(volumeRecordSchema, record), revision: record.revision };
}

export class VolumeDirectory {
  readonly #control: ControlPlane;

  constructor(control: ControlPlane) {
    this.#control = control;
  }

  /** Errors: `invalid`, `exists`, `unavailable`. */
  async create(volume: NewVolume): Promise<VolumeEntry> {
    const name = checked(volumeNameSchema, 'volume name', volume.name);
    const sizeBytes = checked(volumeSizeSchema, 'volume size', volume.sizeBytes);
    const objectBytes = checked(
      objectSizeSchema,
      'object size',
      volume.objectBytes ?? OBJECT_BYTES_DEFAULT,
    );
    return this.#swapping(name, async () => {
      if ((await this.#control.get(volumeKey(name))) !== undefined) {
        throw new DroverError('exists', `volume ${name} exists already`);
      }
      const counter = await this.#control.get(NEXT_VOLUME_ID_KEY);
      const id = counter === undefined ? 1 : parsedRecord(nextVolumeIdSchema, counter);
      const record: VolumeRecord = {
        id,
        name,
        sizeBytes,
        objectBytes,
        layerId: id,
        epoch: 0,
        isReadOnly: volume.isReadOnly ?? false,
        ...(volume.place && { replicas: volume.place(id) }),
      };
      const revision = await this.#control.commit({
        expect: [
          { key: volumeKey(name), revision: REVISION_NONE },
          { key: NEXT_VOLUME_ID_KEY, revision: counter?.revision ?? REVISION_NONE },
        ],
        put: [
          { key: volumeKey(name), value: record },
          { key: NEXT_VOLUME_ID_KEY, value: id + 1 },
        ],
      });
      return { record, revision };
    });
  }

  /** In the order of their names. Errors: `corrupt`, `unavailable`. */
  async list(): Promise<VolumeEntry[]> {
    return (await this.#control.list(VOLUMES_PREFIX)).map(volumeEntryOf);
  }

  async get(name: string): Promise<VolumeEntry | undefined> {
    const record = await this.#control.get(volumeKey(name));
    return record && volumeEntryOf(record);
  }

  /** Errors: `notFound`, `invalid` if it would shrink, `unavailable`. */
  async resize(name: string, sizeBytes: number): Promise<VolumeEntry> {
    checked(volumeSizeSchema, 'volume size', sizeBytes);
    return this.#swapping(name, async () => {
      const entry = await this.#existing(name);
      if (sizeBytes < entry.record.sizeBytes) {
        throw new DroverError(
          'invalid',
          `volume size ${sizeBytes} is below the ${entry.record.sizeBytes} bytes that ${name} has; a volume only grows`,
        );
      }
      return this.swap(entry, { ...entry.record, sizeBytes });
    });
  }

  /** Whether clients may write it. Errors: `notFound`, `unavailable`. */
  async setReadOnly(name: string, isReadOnly: boolean): Promise<VolumeEntry> {
    return this.#swapping(name, async () => {
      const entry = await this.#existing(name);
      return this.swap(entry, { ...entry.record, isReadOnly });
    });
  }

  /**
   * Replaces a volume's record, if it is still the one in `entry`.
   * Errors: `conflict`, `unavailable` (then it may have happened).
   */
  async swap(entry: VolumeEntry, record: VolumeRecord): Promise<VolumeEntry> {
    const key = volumeKey(entry.record.name);
    const revision = await this.#control.commit({
      expect: [{ key, revision: entry.revision }],
      put: [{ key, value: record }],
    });
    return { record, revision };
  }

  /**
   * Removes a volume's record and its lease. Refused as `busy` while a gateway other than `holderId`
   * holds it, unless forced. Errors: `notFound`, `busy`, `unavailable`.
   */
  async remove(
    name: string,
    options: { readonly holderId?: string; readonly force?: boolean } = {},
  ): Promise<VolumeRecord> {
    return this.#swapping(name, async () => {
      const entry = await this.#existing(name);
      const key = leaseKey(entry.record.id);
      const held = await this.#control.get(key);
      if (held !== undefined && options.force !== true) {
        const lease = parsedRecord(leaseRecordSchema, held);
        const isOther = lease.holderKind === 'gateway' && lease.holderId !== options.holderId;
        if (isOther) throw heldBy(name, lease);
      }
      await this.#control.commit({
        expect: [
          { key: volumeKey(name), revision: entry.revision },
          { key, revision: held?.revision ?? REVISION_NONE },
        ],
        remove: [volumeKey(name), key],
      });
      return entry.record;
    });
  }

  /**
   * Takes the lease: the epoch grows by one, durably, before this resolves. A gateway takes over
   * from a steward, and a holder from itself. Errors: `notFound`, `busy` while another holds it,
   * `fenced` if the session has ended, `unavailable`.
   */
  async takeLease(name: string, holder: LeaseHolder): Promise<VolumeLease> {
    const { session, holderId, holderKind } = holder;
    return this.#swapping(name, async () => {
      const entry = await this.#existing(name);
      const key = leaseKey(entry.record.id);
      const held = await this.#control.get(key);
      if (held !== undefined) {
        const other = parsedRecord(leaseRecordSchema, held);
        const isOwn = other.holderKind === holderKind && other.holderId === holderId;
        const isSteward = other.holderKind === 'steward' && holderKind === 'gateway';
        if (!isOwn && !isSteward) throw heldBy(name, other);
      }
      const epoch = entry.record.epoch + 1;
      if (epoch > EPOCH_MAX) {
        throw new DroverError('unavailable', `volume ${name} has used up its ${EPOCH_MAX} epochs`);
      }
      const record: VolumeRecord = { ...entry.record, epoch };
      const lease: LeaseRecord = { epoch, holderId, holderKind };
      const revision = await this.#control.commit({
        expect: [
          { key: volumeKey(name), revision: entry.revision },
          { key, revision: held?.revision ?? REVISION_NONE },
        ],
        put: [
          { key: volumeKey(name), value: record },
          { key, value: lease, session },
        ],
      });
      return { record, revision, leaseRevision: revision, session };
    });
  }

  /** Gives a lease back; nothing happens if it is held no more. Error: `unavailable`. */
  async releaseLease(lease: VolumeLease): Promise<void> {
    const key = leaseKey(lease.record.id);
    try {
      await this.#control.commit({
        expect: [{ key, revision: lease.leaseRevision }],
        remove: [key],
      });
    } catch (error) {
      if (!isDroverError(error, 'conflict')) throw error;
    }
  }

  async #existing(name: string): Promise<VolumeEntry> {
    const entry = await this.get(name);
    if (entry === undefined) throw new DroverError('notFound', `there is no volume ${name}`);
    return entry;
  }

  /** Does `attempt` again, from reading on, when somebody else's change came between. */
  async #swapping<T>(name: string, attempt: () => Promise<T>): Promise<T> {
    for (let attempts = 1; ; attempts++) {
      try {
        return await attempt();
      } catch (error) {
        if (!isDroverError(error, 'conflict')) throw error;
        if (attempts === SWAP_ATTEMPTS_MAX) {
          throw new DroverError(
            'unavailable',
            `volume ${name} was changed by others ${attempts} times in a row`,
            error,
          );
        }
      }
    }
  }
}
