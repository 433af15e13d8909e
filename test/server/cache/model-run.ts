/**
 * Random requests to a volume, many at once, each checked against a plain buffer.
 *
 * Owns: the commands and their generator, the model, and what must hold in the end.
 */
import fc from 'fast-check';
import { BlockState, STATE_COUNT } from '../../../server/cache/block-states.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { storeError } from './memory-object-store.ts';
import { VolumeFixture } from './volume-fixture.ts';

export type Command =
  | { kind: 'write'; offset: number; bytes: number; value: number }
  | { kind: 'zero'; offset: number; bytes: number; isTrim: boolean }
  | { kind: 'read'; offset: number; bytes: number }
  | { kind: 'flush' }
  | { kind: 'flushRange'; offset: number; bytes: number }
  | { kind: 'prefetch'; offset: number; bytes: number }
  | { kind: 'allocation'; offset: number; bytes: number }
  | { kind: 'settle'; choice: number; isFailure: boolean }
  | { kind: 'time'; ms: number };

export interface Shape {
  readonly objectBlocks: number;
  readonly objects: number;
  readonly slots: number;
  readonly objectsMax: number;
  readonly pagesMax: number;
}

export const SHAPES: readonly Shape[] = [
  { objectBlocks: 16, objects: 8, slots: 40, objectsMax: 5, pagesMax: 5 },
  { objectBlocks: 128, objects: 2, slots: 64, objectsMax: 2, pagesMax: 4 },
  { objectBlocks: 64, objects: 4, slots: 24, objectsMax: 3, pagesMax: 3 },
];

export function commandsFor(sizeBytes: number): fc.Arbitrary<Command[]> {
  const range = fc
    .record({
      offset: fc.nat(sizeBytes - 1),
      bytes: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 60_000 })),
      isAligned: fc.boolean(),
    })
    .map(({ offset, bytes, isAligned }) => {
      const start = isAligned ? offset - (offset % BLOCK_BYTES) : offset;
      const length = isAligned ? Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES : bytes;
      return { offset: start, bytes: Math.min(length, sizeBytes - start) };
    });
  const value = fc.integer({ min: 1, max: 255 });
  const command: fc.Arbitrary<Command> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .tuple(range, value)
        .map(([r, v]) => ({ kind: 'write' as const, ...r, value: v })),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(range, fc.boolean())
        .map(([r, isTrim]) => ({ kind: 'zero' as const, ...r, isTrim })),
    },
    { weight: 5, arbitrary: range.map((r) => ({ kind: 'read' as const, ...r })) },
    { weight: 1, arbitrary: fc.constant({ kind: 'flush' as const }) },
    { weight: 1, arbitrary: range.map((r) => ({ kind: 'flushRange' as const, ...r })) },
    { weight: 1, arbitrary: range.map((r) => ({ kind: 'prefetch' as const, ...r })) },
    { weight: 1, arbitrary: range.map((r) => ({ kind: 'allocation' as const, ...r })) },
    {
      weight: 6,
      arbitrary: fc
        .tuple(fc.nat(100), fc.integer({ min: 0, max: 9 }))
        .map(([choice, luck]) => ({ kind: 'settle' as const, choice, isFailure: luck === 0 })),
    },
    {
      weight: 1,
      arbitrary: fc.integer({ min: 1, max: 15_000 }).map((ms) => ({ kind: 'time' as const, ms })),
    },
  );
  return fc.array(command, { minLength: 10, maxLength: 120, size: 'max' });
}

interface Change {
  readonly offset: number;
  readonly end: number;
}

function overlaps(a: Change, offset: number, end: number): boolean {
  return a.offset < end && a.end > offset;
}

/** What the disk must hold, and what is allowed to be otherwise. */
class Model {
  readonly bytes: Buffer;
  /** 1 where a write failed: old or new. */
  readonly unknown: Uint8Array;
  /** The number of the last change begun in each block. */
  readonly changes: Float64Array;
  readonly open = new Set<Change>();
  changeCount = 0;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes);
    this.unknown = new Uint8Array(sizeBytes);
    this.changes = new Float64Array(Math.ceil(sizeBytes / BLOCK_BYTES));
  }

  /** `undefined` if a change of the same bytes is open: the outcome would be either. */
  begin(offset: number, bytes: number): Change | undefined {
    const end = offset + bytes;
    for (const other of this.open) if (overlaps(other, offset, end)) return undefined;
    const change = { offset, end };
    this.open.add(change);
    this.changeCount += 1;
    const last = Math.floor((end - 1) / BLOCK_BYTES);
    for (let b = Math.floor(offset / BLOCK_BYTES); b <= last; b += 1) {
      this.changes[b] = this.changeCount;
    }
    return change;
  }
}

export class Run {
  readonly fixture: VolumeFixture;
  readonly model: Model;
  readonly wrong: string[] = [];
  open = 0;
  readonly #reads = new Set<{
    readonly offset: number;
    readonly end: number;
    excluded: Change[];
  }>();

  constructor(shape: Shape) {
    const { objectBlocks, objects, slots, objectsMax, pagesMax } = shape;
    this.fixture = new VolumeFixture({
      objectBlocks,
      objects,
      slots,
      limits: {
        objectsMax,
        pagesMax,
        fetchBlocksMax: 3,
        segmentBlocksMax: 5,
        readAheadBytesMin: 2 * BLOCK_BYTES,
        readAheadBytesMax: 8 * BLOCK_BYTES,
        readAheadSlotsMax: 6,
        flushFlightsMax: 3,
        drainFlightsMax: 2,
        foresightFlushes: 1,
      },
    });
    this.fixture.store.isHolding = true;
    this.model = new Model(objectBlocks * objects * BLOCK_BYTES);
  }

  async do(command: Command): Promise<void> {
    switch (command.kind) {
      case 'write':
        this.#write(command.offset, Buffer.alloc(command.bytes, command.value));
        break;
      case 'zero':
        this.#zero(command.offset, command.bytes, command.isTrim);
        break;
      case 'read':
        this.#read(command.offset, command.bytes);
        break;
      case 'flush':
        this.#flush(0, this.model.bytes.length, () => this.fixture.volume.flush());
        break;
      case 'flushRange':
        this.#flush(command.offset, command.bytes, () =>
          this.fixture.volume.flushRange(command.offset, command.bytes),
        );
        break;
      case 'prefetch':
        this.#follow(this.fixture.volume.prefetch(command.offset, command.bytes), () => {});
        break;
      case 'allocation':
        this.#allocation(command.offset, command.bytes);
        break;
      case 'settle': {
        const { held } = this.fixture.store;
        if (held.length > 0) {
          held[command.choice % held.length]!.settle(command.isFailure ? storeError() : undefined);
        }
        break;
      }
      case 'time':
        await this.fixture.clock.advance(command.ms);
        break;
    }
    await this.fixture.clock.turns(1);
    this.check();
  }

  #follow(promise: Promise<unknown>, onDone: () => void, onError: () => void = () => {}): void {
    this.open += 1;
    promise.then(
      () => {
        this.open -= 1;
        onDone();
      },
      (error: Error) => {
        this.open -= 1;
        if (error.message !== storeError().message) this.wrong.push(String(error.stack));
        onError();
      },
    );
  }

  #change(offset: number, content: Buffer, start: () => Promise<void> | true): void {
    const change = this.model.begin(offset, content.length);
    if (change === undefined) return;
    for (const read of this.#reads) {
      if (overlaps(change, read.offset, read.end)) read.excluded.push(change);
    }
    const onDone = () => {
      this.model.open.delete(change);
      content.copy(this.model.bytes, offset);
      this.model.unknown.fill(0, offset, change.end);
    };
    const started = start();
    if (started === true) {
      onDone();
      return;
    }
    this.#follow(started, onDone, () => {
      this.model.open.delete(change);
      this.model.unknown.fill(1, offset, change.end);
    });
  }

  #write(offset: number, content: Buffer): void {
    const { volume } = this.fixture;
    this.#change(offset, content, () =>
      volume.tryWrite(offset, content.length, content, 0) ? true : volume.write(offset, content),
    );
  }

  #zero(offset: number, bytes: number, isTrim: boolean): void {
    const { volume } = this.fixture;
    this.#change(offset, Buffer.alloc(bytes), () =>
      isTrim ? volume.trim(offset, bytes) : volume.writeZeroes(offset, bytes, false),
    );
  }

  #read(offset: number, bytes: number): void {
    const end = offset + bytes;
    const target = Buffer.alloc(bytes, 0xee);
    const excluded = [...this.model.open].filter((change) => overlaps(change, offset, end));
    const read = { offset, end, excluded };
    if (this.fixture.volume.tryRead(offset, bytes, target, 0)) {
      this.#compare(offset, target, excluded);
      return;
    }
    this.#reads.add(read);
    this.#follow(
      this.fixture.volume.read(offset, target),
      () => {
        this.#reads.delete(read);
        this.#compare(offset, target, excluded);
      },
      () => this.#reads.delete(read),
    );
  }

  /** What is told to be zeros must be zeros; the runs must make up the range. */
  #allocation(offset: number, bytes: number): void {
    const end = offset + bytes;
    const excluded = [...this.model.open].filter((change) => overlaps(change, offset, end));
    const read = { offset, end, excluded };
    this.#reads.add(read);
    const told = this.fixture.volume.allocation(offset, bytes, 1000).then((runs) => {
      let at = offset;
      for (const run of runs) {
        const zeros = Buffer.from(this.model.bytes.subarray(at, at + run.lengthBytes));
        if (run.isZero) this.#compare(at, zeros.fill(0), excluded);
        if (run.isHole && !run.isZero) this.wrong.push('a hole that is data');
        at += run.lengthBytes;
      }
      if (at !== end) this.wrong.push(`the runs end at ${at}, not at ${end}`);
    });
    const forget = () => this.#reads.delete(read);
    this.#follow(told, forget, forget);
  }

  #compare(offset: number, found: Buffer, excluded: readonly Change[]): void {
    const expected = Buffer.from(this.model.bytes.subarray(offset, offset + found.length));
    for (let i = 0; i < found.length; i += 1) {
      if (this.model.unknown[offset + i] === 1) expected[i] = found[i]!;
    }
    for (const change of excluded) {
      if (!overlaps(change, offset, offset + found.length)) continue;
      const from = Math.max(0, change.offset - offset);
      const to = Math.min(found.length, change.end - offset);
      found.copy(expected, from, from, to);
    }
    if (!expected.equals(found)) {
      const at = found.findIndex((byte, i) => byte !== expected[i]);
      this.wrong.push(`byte ${offset + at} is ${found[at]}, not ${expected[at]}`);
    }
  }

  /** After a flush the store holds what was acknowledged before it, or something newer. */
  #flush(offset: number, bytes: number, start: () => Promise<void>): void {
    const before = Buffer.from(this.model.bytes);
    const unknown = Uint8Array.from(this.model.unknown);
    const changesBefore = this.model.changeCount;
    const open = [...this.model.open];
    this.#follow(start(), () => {
      const last = Math.floor((offset + bytes - 1) / BLOCK_BYTES);
      for (let b = Math.floor(offset / BLOCK_BYTES); b <= last; b += 1) {
        const at = b * BLOCK_BYTES;
        if (this.model.changes[b]! > changesBefore) continue;
        if (open.some((change) => overlaps(change, at, at + BLOCK_BYTES))) continue;
        if (unknown.subarray(at, at + BLOCK_BYTES).includes(1)) continue;
        this.#compareStored(b, before.subarray(at, at + BLOCK_BYTES), 'after a flush');
      }
    });
  }

  #compareStored(b: number, expected: Buffer, when: string): void {
    const { store } = this.fixture;
    const stored = store.block(Math.floor(b / store.blocks), b % store.blocks);
    if (!stored.equals(expected)) {
      this.wrong.push(`${when}, block ${b} is stored with ${stored[0]}, not ${expected[0]}`);
    }
  }

  check(): void {
    const { cache, store, ownedSlots } = this.fixture;
    this.wrong.push(...store.failures);
    const { counts } = cache.table;
    if (ownedSlots < 0) this.wrong.push(`${ownedSlots} slots beyond those of blocks`);
    for (let state = 0; state < STATE_COUNT; state += 1) {
      if (counts[state]! < 0) this.wrong.push(`${counts[state]} blocks in state ${state}`);
    }
    const dirty = counts[BlockState.dirty]! + counts[BlockState.flushing]!;
    if (cache.dirtySlots < dirty) this.wrong.push(`${cache.dirtySlots} dirty slots of ${dirty}`);
    const hardSlots = Math.floor(cache.slab.slots * cache.limits.hardShare);
    if (cache.dirtySlots > Math.max(hardSlots, cache.limits.segmentBlocksMax)) {
      this.wrong.push(`${cache.dirtySlots} dirty slots above the hard limit`);
    }
    if (this.wrong.length > 0) throw new Error(this.wrong.join('\n'));
  }

  async finish(): Promise<void> {
    const { fixture, model } = this;
    const done = await fixture.runUntil(() => this.open === 0);
    if (!done) throw new Error(`${this.open} requests wait for ever`);
    this.check();
    // Failed writes may have left either content; give those bytes a known one.
    for (let b = 0; b < model.changes.length; b += 1) {
      const at = b * BLOCK_BYTES;
      if (model.unknown.subarray(at, at + BLOCK_BYTES).includes(1)) {
        this.#write(at, Buffer.alloc(BLOCK_BYTES, 77));
        await fixture.runUntil(() => this.open === 0);
      }
    }
    for (let b = 0; b < model.changes.length; b += 1) this.#read(b * BLOCK_BYTES, BLOCK_BYTES);
    this.#flush(0, model.bytes.length, () => fixture.volume.flush());
    if (!(await fixture.runUntil(() => this.open === 0))) throw new Error('the end waits for ever');
    this.check();
    for (let b = 0; b < model.changes.length; b += 1) {
      this.#compareStored(b, model.bytes.subarray(b * BLOCK_BYTES, (b + 1) * BLOCK_BYTES), 'last');
    }
    this.check();
    await this.#checkEmpty();
  }

  async #checkEmpty(): Promise<void> {
    const { fixture } = this;
    const { cache } = fixture;
    await fixture.runUntil(() => fixture.store.held.length === 0);
    if (cache.dirtySlots + cache.dirtyObjects + fixture.ownedSlots + cache.readAheadSlots !== 0) {
      throw new Error('something is dirty or owned after everything settled');
    }
    const closed = fixture.track(fixture.volume.close());
    await fixture.runUntil(() => closed() !== 'waiting');
    if (closed() !== 'done') throw new Error(`close: ${closed()}`);
    if (cache.slab.freeSlots !== cache.slab.slots) throw new Error('a slot leaked');
    if (cache.table.freePages !== cache.table.pagesMax) throw new Error('a page leaked');
    if (cache.objectCount !== 0) throw new Error('an object leaked');
    if (cache.table.counts.some((count) => count !== 0)) throw new Error('a count leaked');
  }
}
