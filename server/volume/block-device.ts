/**
 * One attached disk, as a protocol server sees it: byte ranges in, bytes out.
 *
 * Owns the interface between `server/nbd` and what is below it. The `try…` functions are the data
 * path of resident blocks: synchronous, nothing allocated. When one says it cannot, nothing has
 * happened, and the caller takes the function with a promise.
 *
 * Callers have checked that `offset + length <= sizeBytes`; offsets and lengths are in bytes and
 * need no alignment.
 */

/** A run of bytes that is all data, or all zeros. */
export interface ByteRun {
  readonly lengthBytes: number;
  readonly isZero: boolean;
}

/** A run of bytes of one allocation state, as NBD's `base:allocation` tells it. */
export interface AllocationRun {
  readonly lengthBytes: number;
  readonly isHole: boolean;
  readonly isZero: boolean;
}

export interface BlockDevice {
  readonly name: string;
  /** The size at the time it was opened; a grown volume shows at the next open. */
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;

  /**
   * Hot path. How far from `offset` on the content is of one sort, `lengthBytes` at most: positive
   * for so many bytes of data, negative for so many bytes of zeros; 0 if the first block is not
   * resident. A run ends before a block that is not resident.
   */
  tryRunBytes(offset: number, lengthBytes: number): number;
  /** Hot path. Copies the range into `target`, zeros included; false if a block is not resident. */
  tryRead(offset: number, lengthBytes: number, target: Buffer, targetStart: number): boolean;
  /** Hot path. False if the write has to wait or to fetch something first. */
  tryWrite(offset: number, lengthBytes: number, source: Buffer, sourceStart: number): boolean;

  /** Fills `target`, zeros included, and resolves to the runs that it holds. */
  read(offset: number, target: Buffer): Promise<readonly ByteRun[]>;
  /** `source` must not change until the promise settles. */
  write(offset: number, source: Buffer): Promise<void>;
  /** Everything answered before this call, on any connection of the volume, is durable after. */
  flush(): Promise<void>;
  /** As `flush`, for one range. */
  flushRange(offset: number, lengthBytes: number): Promise<void>;
  /** The range reads as zeros afterwards; its space is given back. */
  trim(offset: number, lengthBytes: number): Promise<void>;
  /** The range reads as zeros afterwards; it stays allocated unless `mayPunchHole`. */
  writeZeroes(offset: number, lengthBytes: number, mayPunchHole: boolean): Promise<void>;
  /** Brings the range into the cache as far as there is room. */
  prefetch(offset: number, lengthBytes: number): Promise<void>;
  /** Runs from `offset` on; stops early after `runsMax` runs. */
  allocation(offset: number, lengthBytes: number, runsMax: number): Promise<AllocationRun[]>;
  /** Ends this use of the volume; it stays attached as long as others use it. */
  close(): Promise<void>;
}
