/**
 * Attaching a volume whose copies are on several nodes: lease, copies, cache.
 *
 * Owns: waiting a moment for a holder that is about to give the volume back, and what the registry
 * gets of the replication below. Does not own: the lease and the copies (`store/replication`).
 */
import type { SessionKeeper } from '../../store/control/session-keeper.ts';
import type { VolumeRecord } from '../../store/control/volume-record.ts';
import { type AttachOptions, attachVolume } from '../../store/replication/attach.ts';
import type { ObjectStore } from '../../store/replication/object-store.ts';
import type { ReplicatedStore } from '../../store/replication/replicated-store.ts';
import { sleep } from '../../store/runtime/clock.ts';
import { DroverError, isDroverError } from '../../store/runtime/drover-error.ts';
import type { AttachVolume, UsableVolume } from './volume-attachment.ts';

export interface ReplicatedAttachOptions
  extends Omit<AttachOptions, 'volumeName' | 'holder' | 'onLost'> {
  readonly sessions: SessionKeeper;
  readonly holderId: string;
  /** How long an attach waits for another holder's lease to end. */
  readonly busyPatienceMs: number;
  readonly makeVolume: (record: VolumeRecord, objectStore: ObjectStore) => UsableVolume;
}

const BUSY_RETRY_MS = 250;

export function replicatedAttach(options: ReplicatedAttachOptions): AttachVolume {
  return async (name, onLost) => {
    const store = await attachPatiently(options, name, onLost);
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

async function attachPatiently(
  options: ReplicatedAttachOptions,
  volumeName: string,
  onLost: (reason: DroverError) => void,
): Promise<ReplicatedStore> {
  const { clock, sessions, holderId, busyPatienceMs } = options;
  const endMs = clock.nowMs() + busyPatienceMs;
  for (;;) {
    const session = await sessions.current();
    const holder = { session, holderId, holderKind: 'gateway' as const };
    try {
      return await attachVolume({ ...options, volumeName, holder, onLost });
    } catch (error) {
      if (!isDroverError(error, 'busy') || clock.nowMs() >= endMs) throw error;
    }
    await sleep(clock, BUSY_RETRY_MS);
  }
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
