/**
 * One user's handle of an attached volume: a device that can be taken away.
 *
 * Owns: whether the handle is open, and that nothing is answered without the lease. Does not own
 * the device behind it.
 * Invariants: once it is closed or detached, nothing reaches the device any more, and its user is
 * counted no longer. Once the lease is over nothing is answered with success, reads of what is in
 * the cache included: a process that was frozen for longer than its lease may hold old data. So a
 * request looks at the lease before, and one with a promise also after it was carried out.
 */
import { DroverError } from '../../store/runtime/drover-error.ts';
import type { AllocationRun, BlockDevice, ByteRun } from './block-device.ts';

/** What a use needs to know of the attachment. */
export interface UseGuard {
  /** Hot path. Whether the lease of the volume is held now. */
  leaseHolds(): boolean;
  /** A request was refused because it is not. */
  onFenced(): void;
}

export class VolumeUse implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly #device: BlockDevice;
  readonly #guard: UseGuard;
  readonly #onDetach: (reason: string) => void;
  readonly #onClosed: (use: VolumeUse) => void;
  #isOpen = true;

  constructor(
    device: BlockDevice,
    guard: UseGuard,
    onDetach: (reason: string) => void,
    onClosed: (use: VolumeUse) => void,
  ) {
    this.name = device.name;
    this.sizeBytes = device.sizeBytes;
    this.isReadOnly = device.isReadOnly;
    this.#device = device;
    this.#guard = guard;
    this.#onDetach = onDetach;
    this.#onClosed = onClosed;
  }

  /** Takes the volume away from its user. */
  detach(reason: string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#onClosed(this);
    this.#onDetach(reason);
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      await this.#device.close();
    } finally {
      this.#onClosed(this);
    }
  }

  /** Hot path. */
  tryRunBytes(offset: number, lengthBytes: number): number {
    return this.#isOpen && this.#guard.leaseHolds()
      ? this.#device.tryRunBytes(offset, lengthBytes)
      : 0;
  }

  /** Hot path. */
  tryRead(offset: number, lengthBytes: number, target: Buffer, targetStart: number): boolean {
    return (
      this.#isOpen &&
      this.#guard.leaseHolds() &&
      this.#device.tryRead(offset, lengthBytes, target, targetStart)
    );
  }

  /** Hot path. */
  tryWrite(offset: number, lengthBytes: number, source: Buffer, sourceStart: number): boolean {
    return (
      this.#isOpen &&
      this.#guard.leaseHolds() &&
      this.#device.tryWrite(offset, lengthBytes, source, sourceStart)
    );
  }

  async read(offset: number, target: Buffer): Promise<readonly ByteRun[]> {
    const runs = await this.#leased().read(offset, target);
    this.#assertLease();
    return runs;
  }

  async write(offset: number, source: Buffer): Promise<void> {
    await this.#leased().write(offset, source);
    this.#assertLease();
  }

  async flush(): Promise<void> {
    await this.#leased().flush();
    this.#assertLease();
  }

  async flushRange(offset: number, lengthBytes: number): Promise<void> {
    await this.#leased().flushRange(offset, lengthBytes);
    this.#assertLease();
  }

  async trim(offset: number, lengthBytes: number): Promise<void> {
    await this.#leased().trim(offset, lengthBytes);
    this.#assertLease();
  }

  async writeZeroes(offset: number, lengthBytes: number, mayPunchHole: boolean): Promise<void> {
    await this.#leased().writeZeroes(offset, lengthBytes, mayPunchHole);
    this.#assertLease();
  }

  async prefetch(offset: number, lengthBytes: number): Promise<void> {
    await this.#leased().prefetch(offset, lengthBytes);
  }

  async allocation(offset: number, lengthBytes: number, runsMax: number): Promise<AllocationRun[]> {
    const runs = await this.#leased().allocation(offset, lengthBytes, runsMax);
    this.#assertLease();
    return runs;
  }

  #leased(): BlockDevice {
    this.#assertLease();
    if (this.#isOpen) return this.#device;
    throw new DroverError('unavailable', `volume ${this.name} is detached`);
  }

  #assertLease(): void {
    if (this.#guard.leaseHolds()) return;
    this.#guard.onFenced();
    throw new DroverError('fenced', `the lease of volume ${this.name} is over`);
  }
}
