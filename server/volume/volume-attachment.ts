/**
 * What the registry needs of an attached volume, and of the way it was attached.
 *
 * Owns the interfaces. `AttachedVolume` is the volume; the programs decide how one is attached.
 */
import type { VolumeRecord } from '../../store/control/volume-record.ts';
import type { ReplicatedStore } from '../../store/replication/replicated-store.ts';
import type { DroverError } from '../../store/runtime/drover-error.ts';
import type { BlockDevice } from './block-device.ts';

/** One volume with its cache, shared by all who use it. */
export interface UsableVolume {
  /** Bytes that are in the cache only. */
  readonly dirtyBytes: number;
  /** A handle with the size that the volume has now. */
  openDevice(): BlockDevice;
  /** Handles opened from now on have the size, never below the old one, and the access of `record`. */
  follow(record: Pick<VolumeRecord, 'sizeBytes' | 'isReadOnly'>): void;
  flush(): Promise<void>;
  /** Flushes, then leaves the cache; on an error it has left nevertheless. */
  close(): Promise<void>;
  /** Leaves the cache without writing; resolves when no write of it is under way any more. */
  discard(): Promise<void>;
}

/** What is told and asked of the copies below. */
export type VolumeReplication = Pick<ReplicatedStore, 'leaseHolds' | 'status' | 'stats' | 'verify'>;

export interface VolumeAttachment {
  /** As it was when the lease was taken. */
  readonly record: VolumeRecord;
  readonly volume: UsableVolume;
  readonly replication: VolumeReplication;
  /** Gives the lease back; the volume was closed or discarded before. */
  release(): Promise<void>;
}

/**
 * Takes the lease of a volume and makes it usable. Calls `onLost` once if the lease is lost later.
 * Errors: `notFound`, `busy` while another process has it, `fenced`, `unavailable`.
 */
export type AttachVolume = (
  name: string,
  onLost: (reason: DroverError) => void,
) => Promise<VolumeAttachment>;
