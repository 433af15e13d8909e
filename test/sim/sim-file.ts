/**
 * One file of the simulated disk: what a reader sees, and what a power cut would leave of it.
 *
 * Invariants: `current` has every write that completed; `durable` what surely survives; `changes`
 * lead from one to the other, and after a crash any part of them may have happened: each sector of
 * a write on its own, in any order.
 */
import type { SeededRandom } from '../support/seeded-random.ts';

const SECTOR_BYTES = 512;

type Change =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly sizeBytes: number };

/** Bytes that grow as they are written. */
export class SimBytes {
  #bytes = Buffer.alloc(0);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  write(bytes: Buffer, position: number): void {
    const end = position + bytes.length;
    if (end > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(grown);
      this.#bytes = grown;
    }
    bytes.copy(this.#bytes, position);
    this.#size = Math.max(this.#size, end);
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes > this.#size) this.write(Buffer.alloc(sizeBytes - this.#size), this.#size);
    this.#bytes.fill(0, sizeBytes);
    this.#size = sizeBytes;
  }

  /** A view; short at the end. */
  at(position: number, byteCount: number): Buffer {
    return this.#bytes.subarray(position, Math.min(this.#size, position + byteCount));
  }

  copy(): SimBytes {
    const other = new SimBytes();
    other.write(Buffer.from(this.at(0, this.#size)), 0);
    return other;
  }
}

export class SimInode {
  readonly current: SimBytes;
  readonly durable: SimBytes;
  changes: Change[] = [];
  /** Writes that were begun and not answered. */
  readonly inFlight = new Set<Change>();

  constructor(content: SimBytes = new SimBytes()) {
    this.current = content;
    this.durable = content.copy();
  }

  write(bytes: Buffer, position: number, isDurable: boolean): void {
    this.current.write(bytes, position);
    const change: Change = { kind: 'write', position, bytes };
    if (isDurable) {
      apply(this.durable, change);
      // An older page that was never synced cannot come back over a newer one that was.
      this.changes = this.changes.flatMap((older) => outside(older, position, bytes.length));
    } else {
      this.changes.push(change);
    }
  }

  truncate(sizeBytes: number): void {
    this.current.truncate(sizeBytes);
    this.changes.push({ kind: 'truncate', sizeBytes });
  }

  /** Makes the first `count` changes durable. */
  sync(count: number): void {
    for (const change of this.changes.splice(0, count)) apply(this.durable, change);
  }

  /** What is found after a power cut. */
  afterCrash(random: SeededRandom): SimInode {
    const content = this.durable.copy();
    for (const change of [...this.changes, ...this.inFlight]) {
      if (change.kind === 'truncate') {
        if (random.chance(0.5)) content.truncate(change.sizeBytes);
        continue;
      }
      const survival = random.below(3) / 2;
      for (let start = 0; start < change.bytes.length; start += SECTOR_BYTES) {
        if (!random.chance(survival)) continue;
        const sector = change.bytes.subarray(start, start + SECTOR_BYTES);
        content.write(sector, change.position + start);
      }
    }
    return new SimInode(content);
  }

  /** What is found after the process was killed and the machine went on. */
  afterKill(random: SeededRandom): SimInode {
    const inode = new SimInode(this.durable.copy());
    for (const change of this.changes) inode.#redo(change);
    for (const change of this.inFlight) if (random.chance(0.5)) inode.#redo(change);
    return inode;
  }

  #redo(change: Change): void {
    if (change.kind === 'truncate') this.truncate(change.sizeBytes);
    else this.write(change.bytes, change.position, false);
  }
}

/** What is left of a change outside a range of bytes. */
function outside(change: Change, start: number, byteCount: number): Change[] {
  if (change.kind === 'truncate') return [change];
  const { position, bytes } = change;
  const before = bytes.subarray(0, Math.max(0, start - position));
  const after = bytes.subarray(Math.min(bytes.length, Math.max(0, start + byteCount - position)));
  const pieces: Change[] = [
    { kind: 'write', position, bytes: before },
    { kind: 'write', position: position + bytes.length - after.length, bytes: after },
  ];
  return pieces.filter((piece) => piece.kind === 'write' && piece.bytes.length > 0);
}

function apply(bytes: SimBytes, change: Change): void {
  if (change.kind === 'truncate') bytes.truncate(change.sizeBytes);
  else bytes.write(change.bytes, change.position);
}
