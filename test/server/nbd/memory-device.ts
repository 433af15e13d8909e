/**
 * An export in memory, for tests of the NBD server: a buffer, and a state for each 4 KiB block.
 *
 * Owns: the bytes, and the faults a test asks for: blocks that are not resident, delays, errors.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AllocationRun, BlockDevice, ByteRun } from '../../../server/volume/block-device.ts';

const BLOCK_BYTES = 4096;

export type DeviceOperation =
  | 'read'
  | 'write'
  | 'flush'
  | 'flushRange'
  | 'trim'
  | 'writeZeroes'
  | 'prefetch'
  | 'allocation';

export interface DeviceCall {
  readonly operation: DeviceOperation;
  readonly offset: number;
  readonly lengthBytes: number;
}

export interface MemoryDeviceOptions {
  readonly name?: string;
  readonly sizeBytes?: number;
  readonly isReadOnly?: boolean;
}

export class MemoryDevice implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly bytes: Buffer;
  /** 1: holds data; 0: a hole that reads as zeros. */
  readonly #allocated: Uint8Array;
  /** False makes the hot functions say that they cannot. */
  isResident = true;
  /** Called before each function with a promise: may wait, or throw what the function then throws. */
  fault: (call: DeviceCall) => void | Promise<void> = () => {};
  /** Each function with a promise that was called. */
  readonly calls: DeviceCall[] = [];
  /** `mayPunchHole` of each `writeZeroes`. */
  readonly punches: boolean[] = [];
  inFlight = 0;
  inFlightMax = 0;
  closes = 0;
  /** Operations under way, of whatever connection, when it was closed last. */
  inFlightAtClose = 0;

  constructor({
    name = 'disk',
    sizeBytes = 1024 * 1024,
    isReadOnly = false,
  }: MemoryDeviceOptions = {}) {
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.isReadOnly = isReadOnly;
    this.bytes = Buffer.alloc(sizeBytes);
    this.#allocated = new Uint8Array(Math.ceil(sizeBytes / BLOCK_BYTES));
  }

  /** Every call waits so long. */
  delayAll(delayMs: number): void {
    this.fault = async () => {
      await sleep(delayMs);
    };
  }

  operations(): DeviceOperation[] {
    return this.calls.map((call) => call.operation);
  }

  tryRunBytes(offset: number, lengthBytes: number): number {
    if (!this.isResident) return 0;
    const end = offset + lengthBytes;
    const first = this.#allocated[Math.floor(offset / BLOCK_BYTES)];
    let block = Math.floor(offset / BLOCK_BYTES) + 1;
    while (block * BLOCK_BYTES < end && this.#allocated[block] === first) block += 1;
    const runBytes = Math.min(end, block * BLOCK_BYTES) - offset;
    return first === 1 ? runBytes : -runBytes;
  }

  tryRead(offset: number, lengthBytes: number, target: Buffer, targetStart: number): boolean {
    if (!this.isResident) return false;
    this.bytes.copy(target, targetStart, offset, offset + lengthBytes);
    return true;
  }

  tryWrite(offset: number, lengthBytes: number, source: Buffer, sourceStart: number): boolean {
    if (!this.isResident) return false;
    source.copy(this.bytes, offset, sourceStart, sourceStart + lengthBytes);
    this.#mark(offset, lengthBytes, 1);
    return true;
  }

  async read(offset: number, target: Buffer): Promise<readonly ByteRun[]> {
    await this.#call('read', offset, target.length, () => {
      this.bytes.copy(target, 0, offset, offset + target.length);
    });
    return this.#runs(offset, target.length, Number.POSITIVE_INFINITY);
  }

  write(offset: number, source: Buffer): Promise<void> {
    return this.#call('write', offset, source.length, () => {
      source.copy(this.bytes, offset);
      this.#mark(offset, source.length, 1);
    });
  }

  flush(): Promise<void> {
    return this.#call('flush', 0, 0, () => {});
  }

  flushRange(offset: number, lengthBytes: number): Promise<void> {
    return this.#call('flushRange', offset, lengthBytes, () => {});
  }

  trim(offset: number, lengthBytes: number): Promise<void> {
    return this.#call('trim', offset, lengthBytes, () => this.#zero(offset, lengthBytes));
  }

  writeZeroes(offset: number, lengthBytes: number, mayPunchHole: boolean): Promise<void> {
    this.punches.push(mayPunchHole);
    return this.#call('writeZeroes', offset, lengthBytes, () => this.#zero(offset, lengthBytes));
  }

  prefetch(offset: number, lengthBytes: number): Promise<void> {
    return this.#call('prefetch', offset, lengthBytes, () => {});
  }

  async allocation(offset: number, lengthBytes: number, runsMax: number): Promise<AllocationRun[]> {
    await this.#call('allocation', offset, lengthBytes, () => {});
    const runs = this.#runs(offset, lengthBytes, runsMax);
    return runs.map((run) => ({ ...run, isHole: run.isZero }));
  }

  async close(): Promise<void> {
    this.closes += 1;
    this.inFlightAtClose = this.inFlight;
  }

  async #call(
    operation: DeviceOperation,
    offset: number,
    lengthBytes: number,
    work: () => void,
  ): Promise<void> {
    const call = { operation, offset, lengthBytes };
    this.calls.push(call);
    this.inFlight += 1;
    this.inFlightMax = Math.max(this.inFlightMax, this.inFlight);
    try {
      await this.fault(call);
      work();
    } finally {
      this.inFlight -= 1;
    }
  }

  #mark(offset: number, lengthBytes: number, state: number): void {
    const last = Math.floor((offset + lengthBytes - 1) / BLOCK_BYTES);
    for (let block = Math.floor(offset / BLOCK_BYTES); block <= last; block += 1) {
      this.#allocated[block] = state;
    }
  }

  /** Whole blocks become holes; the bytes around them are zeroed where they are. */
  #zero(offset: number, lengthBytes: number): void {
    const end = offset + lengthBytes;
    this.bytes.fill(0, offset, end);
    const firstBlock = Math.ceil(offset / BLOCK_BYTES);
    const endBlock =
      end === this.sizeBytes ? this.#allocated.length : Math.floor(end / BLOCK_BYTES);
    if (firstBlock < endBlock) this.#allocated.fill(0, firstBlock, endBlock);
  }

  #runs(offset: number, lengthBytes: number, runsMax: number): ByteRun[] {
    const wasResident = this.isResident;
    this.isResident = true;
    const runs: ByteRun[] = [];
    for (let at = offset; at < offset + lengthBytes && runs.length < runsMax; ) {
      const run = this.tryRunBytes(at, offset + lengthBytes - at);
      runs.push({ lengthBytes: Math.abs(run), isZero: run < 0 });
      at += Math.abs(run);
    }
    this.isResident = wasResident;
    return runs;
  }
}
