/**
 * A socket that keeps what is written to it, and whose kernel takes it at once or when told.
 */
import type { OutputSocket } from '../../../server/nbd/output.ts';

export class FakeSocket implements OutputSocket {
  /** What the kernel has taken, copied at that moment. */
  readonly taken: Buffer[] = [];
  isBlocked = false;
  writes = 0;
  #waiting: { readonly bytes: Uint8Array; readonly onWritten: () => void }[] = [];
  #corked = 0;

  get writableLength(): number {
    return this.#waiting.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  write(bytes: Uint8Array, onWritten: () => void): boolean {
    this.writes += 1;
    this.#waiting.push({ bytes, onWritten });
    if (this.#corked === 0 && !this.isBlocked) this.takeAll();
    return true;
  }

  cork(): void {
    this.#corked += 1;
  }

  uncork(): void {
    this.#corked -= 1;
    if (this.#corked === 0 && !this.isBlocked) this.takeAll();
  }

  /** The kernel takes what waits; the writes are answered later, as `net.Socket` does it. */
  takeAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { bytes, onWritten } of waiting) {
      this.taken.push(Buffer.from(bytes));
      queueMicrotask(onWritten);
    }
  }

  get bytes(): Buffer {
    return Buffer.concat(this.taken);
  }
}
