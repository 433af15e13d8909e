/**
 * One user's handle of an attached volume.
 *
 * Owns: the size as it was when the handle was opened. Everything else is the volume's.
 */
import type { AttachedVolume } from './attached-volume.ts';
import type { AllocationRun, BlockDevice, ByteRun } from './block-device.ts';

export class VolumeDevice implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly #volume: AttachedVolume;
  #onClose: (() => Promise<void>) | undefined;

  constructor(volume: AttachedVolume, onClose: (() => Promise<void>) | undefined) {
    this.name = volume.name;
    this.sizeBytes = volume.sizeBytes;
    this.isReadOnly = volume.isReadOnly;
    this.#volume = volume;
    this.#onClose = onClose;
  }

  /** Hot path. */
  tryRunBytes(offset: number, lengthBytes: number): number {
    return this.#volume.tryRunBytes(offset, lengthBytes);
  }

  /** Hot path. */
  tryRead(offset: number, lengthBytes: number, target: Buffer, targetStart: number): boolean {
    return this.#volume.tryRead(offset, lengthBytes, target, targetStart);
  }

  /** Hot path. */
  tryWrite(offset: number, lengthBytes: number, source: Buffer, sourceStart: number): boolean {
    return this.#volume.tryWrite(offset, lengthBytes, source, sourceStart);
  }

  read(offset: number, target: Buffer): Promise<readonly ByteRun[]> {
    return this.#volume.read(offset, target);
  }

  write(offset: number, source: Buffer): Promise<void> {
    return this.#volume.write(offset, source);
  }

  flush(): Promise<void> {
    return this.#volume.flush();
  }

  flushRange(offset: number, lengthBytes: number): Promise<void> {
    return this.#volume.flushRange(offset, lengthBytes);
  }

  trim(offset: number, lengthBytes: number): Promise<void> {
    return this.#volume.trim(offset, lengthBytes);
  }

  writeZeroes(offset: number, lengthBytes: number, mayPunchHole: boolean): Promise<void> {
    return this.#volume.writeZeroes(offset, lengthBytes, mayPunchHole);
  }

  prefetch(offset: number, lengthBytes: number): Promise<void> {
    return this.#volume.prefetch(offset, lengthBytes);
  }

  allocation(offset: number, lengthBytes: number, runsMax: number): Promise<AllocationRun[]> {
    return this.#volume.allocation(offset, lengthBytes, runsMax);
  }

  async close(): Promise<void> {
    const onClose = this.#onClose;
    this.#onClose = undefined;
    await onClose?.();
  }
}
