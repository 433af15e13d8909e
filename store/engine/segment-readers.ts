/**
 * Open files for reading segments, and who is reading which.
 *
 * Owns: a bounded number of open files, and counts of uses. Does not own: when a segment is freed;
 * `retire` tells when nobody reads it any more.
 * Invariant: a file is closed only when nobody uses it.
 */
import type { Disk, DiskFile } from '../runtime/disk.ts';

interface Reader {
  readonly opening: Promise<DiskFile>;
  file: DiskFile | undefined;
  uses: number;
  isRecent: boolean;
  onUnused: (() => void) | undefined;
}

export class SegmentReaders {
  readonly #disk: Disk;
  readonly #path: (segmentId: number) => string;
  readonly #openMax: number;
  readonly #readers = new Map<number, Reader>();

  constructor(disk: Disk, path: (segmentId: number) => string, openMax: number) {
    this.#disk = disk;
    this.#path = path;
    this.#openMax = openMax;
  }

  /** Hot path. The open file, in use until `release`; a promise if it has to be opened first. */
  acquire(segmentId: number): DiskFile | Promise<DiskFile> {
    const known = this.#readers.get(segmentId);
    if (known !== undefined) {
      known.uses += 1;
      known.isRecent = true;
      return known.file ?? known.opening;
    }
    return this.#open(segmentId).opening;
  }

  /** Hot path. */
  release(segmentId: number): void {
    const reader = this.#readers.get(segmentId);
    if (reader === undefined) return;
    reader.uses -= 1;
    if (reader.uses === 0 && reader.onUnused !== undefined) reader.onUnused();
  }

  /** Resolves when nobody reads the segment and its file is closed; nobody may ask for it again. */
  async retire(segmentId: number): Promise<void> {
    const reader = this.#readers.get(segmentId);
    if (reader === undefined) return;
    if (reader.uses > 0) {
      await new Promise<void>((resolve) => {
        reader.onUnused = resolve;
      });
    }
    this.#readers.delete(segmentId);
    await reader.file?.close();
  }

  async close(): Promise<void> {
    for (const segmentId of [...this.#readers.keys()]) await this.retire(segmentId);
  }

  #open(segmentId: number): Reader {
    if (this.#readers.size >= this.#openMax) this.#closeOne();
    const opening = this.#disk.open(this.#path(segmentId), { readOnly: true });
    const reader: Reader = {
      opening,
      file: undefined,
      uses: 1,
      isRecent: true,
      onUnused: undefined,
    };
    this.#readers.set(segmentId, reader);
    opening.then(
      (file) => {
        reader.file = file;
      },
      // Whoever asked gets the error; the next one tries again.
      () => this.#readers.delete(segmentId),
    );
    return reader;
  }

  /** Closes the file that was not used for longest, roughly: each gets a second chance. */
  #closeOne(): void {
    for (const [segmentId, reader] of [...this.#readers]) {
      if (reader.uses > 0 || reader.file === undefined) continue;
      this.#readers.delete(segmentId);
      if (reader.isRecent) {
        reader.isRecent = false;
        this.#readers.set(segmentId, reader);
      } else {
        // Nothing was written through it: a failing close loses nothing.
        reader.file.close().catch(() => {});
        return;
      }
    }
  }
}
