/**
 * An attached volume in memory whose steps a test can see, hold up and let fail.
 */
import type { AllocationRun, BlockDevice, ByteRun } from '../../../server/volume/block-device.ts';
import type {
  AttachVolume,
  UsableVolume,
  VolumeAttachment,
  VolumeReplication,
} from '../../../server/volume/volume-attachment.ts';
import type { LeaseHolder, VolumeDirectory } from '../../../store/control/volume-directory.ts';
import type { VolumeRecord } from '../../../store/control/volume-record.ts';
import { ReplicationStats } from '../../../store/replication/replication-stats.ts';
import type { ReplicationStatus } from '../../../store/replication/replication-status.ts';
import type { VerifyOptions, VerifyReport } from '../../../store/replication/verify.ts';
import type { DroverError } from '../../../store/runtime/drover-error.ts';

class FakeDevice implements BlockDevice {
  readonly isReadOnly: boolean;
  readonly #volume: FakeVolume;
  readonly name: string;
  readonly sizeBytes: number;

  constructor(volume: FakeVolume) {
    this.#volume = volume;
    this.name = volume.name;
    this.sizeBytes = volume.sizeBytes;
    this.isReadOnly = volume.isReadOnly;
  }

  tryRunBytes = (_offset: number, lengthBytes: number): number => lengthBytes;
  tryRead = (): boolean => true;
  tryWrite = (): boolean => true;
  read = async (): Promise<readonly ByteRun[]> => [];
  write = async (): Promise<void> => {
    this.#volume.dirtyBytes += 1;
  };
  flush = (): Promise<void> => this.#volume.flush();
  flushRange = (): Promise<void> => this.#volume.flush();
  trim = async (): Promise<void> => {};
  writeZeroes = async (): Promise<void> => {};
  prefetch = async (): Promise<void> => {};
  allocation = async (): Promise<AllocationRun[]> => [];
  close = async (): Promise<void> => {
    this.#volume.steps.push('device closed');
  };
}

export class FakeVolume implements UsableVolume {
  readonly name: string;
  readonly steps: string[] = [];
  sizeBytes: number;
  isReadOnly = false;
  dirtyBytes = 0;
  flushError: DroverError | undefined;

  constructor(name: string, sizeBytes: number) {
    this.name = name;
    this.sizeBytes = sizeBytes;
  }

  openDevice = (): BlockDevice => new FakeDevice(this);

  follow({ sizeBytes, isReadOnly }: Pick<VolumeRecord, 'sizeBytes' | 'isReadOnly'>): void {
    this.sizeBytes = sizeBytes;
    this.isReadOnly = isReadOnly;
  }

  async flush(): Promise<void> {
    this.steps.push('flush');
    if (this.flushError !== undefined) throw this.flushError;
    this.dirtyBytes = 0;
  }

  async close(): Promise<void> {
    await this.flush().finally(() => this.steps.push('close'));
  }

  async discard(): Promise<void> {
    this.steps.push('discard');
    this.dirtyBytes = 0;
  }
}

/** Copies that are there as long as the lease is. */
export class FakeReplication implements VolumeReplication {
  readonly stats = new ReplicationStats();
  readonly volumeName: string;
  isLeased = true;
  /** Holds up a comparison. */
  verifying: Promise<void> | undefined;

  constructor(volumeName: string) {
    this.volumeName = volumeName;
  }

  leaseHolds = (): boolean => this.isLeased;

  status = (): ReplicationStatus => ({
    ...{ volumeName: this.volumeName, epoch: 1, copies: 1, minInSync: 1, inSync: 1 },
    ...{ areWritesServed: true, objectsBehind: 0, objectsDiffering: 0, replicas: [] },
  });

  verify = async ({ signal }: VerifyOptions): Promise<VerifyReport> => {
    const aborted = Promise.withResolvers<void>();
    signal?.addEventListener('abort', () => aborted.resolve());
    await Promise.race([this.verifying, aborted.promise]);
    signal?.throwIfAborted();
    return { nodeIds: ['n1'], objects: 1, differences: [], differenceCount: 0 };
  };
}

/** Attaches fake volumes, with real leases. */
export class FakeAttacher {
  /** Every volume that was attached, in order. */
  readonly volumes: FakeVolume[] = [];
  readonly replications: FakeReplication[] = [];
  readonly onLost: ((reason: DroverError) => void)[] = [];
  /** Holds up or fails an attach before its lease is taken. */
  before: (() => Promise<void>) | undefined;
  /** Holds up an attach after its lease was taken. */
  after: (() => Promise<void>) | undefined;
  readonly #directory: VolumeDirectory;
  readonly #holder: LeaseHolder;

  constructor(directory: VolumeDirectory, holder: LeaseHolder) {
    this.#directory = directory;
    this.#holder = holder;
  }

  attach: AttachVolume = async (name, onLost): Promise<VolumeAttachment> => {
    await this.before?.();
    const lease = await this.#directory.takeLease(name, this.#holder);
    const volume = new FakeVolume(name, lease.record.sizeBytes);
    this.volumes.push(volume);
    const replication = new FakeReplication(name);
    this.replications.push(replication);
    this.onLost.push(onLost);
    await this.after?.();
    return {
      record: lease.record,
      volume,
      replication,
      release: async () => {
        volume.steps.push('release');
        await this.#directory.releaseLease(lease);
      },
    };
  };
}
