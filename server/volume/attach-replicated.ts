/**
 * Attaching a volume whose copies are on several nodes: lease, copies, cache.
 *
 * Owns: what the registry gets of the replication below. Does not own: the lease and the copies
 * (`store/replication`), nor the waiting for another holder (`VolumeWishes`).
 */
import type { SessionKeeper } from '../../store/control/session-keeper.ts';
import type { VolumeRecord } from '../../store/control/volume-record.ts';
import { type AttachOptions, attachVolume } from '../../store/replication/attach.ts';
import type { ObjectStore } from '../../store/replication/object-store.ts';
import type { ReplicatedStore } from '../../store/replication/replicated-store.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import type { AttachVolume, UsableVolume } from './volume-attachment.ts';
import type { VolumeWishes } from './volume-wishes.ts';

export interface ReplicatedAttachOptions
  extends Omit<AttachOptions, 'volumeName' | 'holder' | 'onLost'> {
  readonly sessions: SessionKeeper;
  readonly holderId: string;
  /** Asks another holder for the volume. */
  readonly wishes: VolumeWishes;
  readonly makeVolume: (record: VolumeRecord, objectStore: ObjectStore) => UsableVolume;
}

export function replicatedAttach(options: ReplicatedAttachOptions): AttachVolume {
  const { sessions, holderId, wishes } = options;
  return async (name, onLost) => {
    const store = await wishes.untilGivenBack(name, async () => {
      const holder = {
        session: await sessions.current(),
        holderId,
        holderKind: 'gateway' as const,
      };
      return attachVolume({ ...options, volumeName: name, holder, onLost });
    });
    try {
      const record = await recordOf(options, name, store);
      const volume = options.makeVolume(record, store);
      return { record, volume, replication: store, release: () => store.close() };
    } catch (error) {
      await store.close();
      throw error;
    }
  };
}

/** The record of the volume that was attached, not of another one that took its name. */
async function recordOf(
  { directory }: ReplicatedAttachOptions,
  name: string,
  store: ReplicatedStore,
): Promise<VolumeRecord> {
  const entry = await directory.get(name);
  if (entry?.record.epoch === store.status().epoch) return entry.record;
  throw new DroverError('unavailable', `volume ${name} was changed while it was attached`);
}
