/**
 * Records that wait for the log, first come first served.
 *
 * Invariant: a record leaves at the front, in the order of arrival. Memory is given back in bulk,
 * so that neither end costs more than a few instructions.
 */
import type { Append } from './append.ts';

const COMPACT_AT = 1024;

export class AppendQueue {
  #records: Append[] = [];
  #head = 0;

  get length(): number {
    return this.#records.length - this.#head;
  }

  push(record: Append): void {
    this.#records.push(record);
  }

  front(): Append | undefined {
    return this.#records[this.#head];
  }

  shift(): void {
    this.#head += 1;
    if (this.#head === this.#records.length) {
      this.#records = [];
      this.#head = 0;
    } else if (this.#head >= COMPACT_AT) {
      this.#records.splice(0, this.#head);
      this.#head = 0;
    }
  }

  takeAll(): Append[] {
    const all = this.#records.slice(this.#head);
    this.#records = [];
    this.#head = 0;
    return all;
  }

  /** Takes what `wants` out, keeping the order of the rest. */
  takeWhere(wants: (record: Append) => boolean): Append[] {
    const taken: Append[] = [];
    const kept: Append[] = [];
    for (const record of this.takeAll()) (wants(record) ? taken : kept).push(record);
    this.#records = kept;
    return taken;
  }
}
