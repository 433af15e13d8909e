/**
 * Reads and writes that are handed to the kernel without a thread: io_uring(7).
 *
 * Owns: the ring, its entries, what is under way in it, and being told of completions. Does not own:
 * files, what is written, what else to do when the ring cannot take a transfer.
 * Why: a write in a thread of the pool wakes that thread and is told by it, and on a virtual machine
 * a wake-up costs some 30 µs: three synced writes of 8 KiB at once took 300 to 340 µs and 250 to 275
 * of processor time in threads, 230 to 270 and 80 to 90 in the ring.
 * One 4 KiB read from the disk took 84 to 122 µs in a thread and 64 to 79 in the ring, and eight at once
 * 25 to 36 µs of processor time each, and 14 to 21.
 * How the event loop learns of a completion: behind each transfer stands a second entry, linked to it,
 * that writes a byte into a pipe, whose other end is read as any socket is. A pipe is what Node can
 * wait for; the ring itself is not.
 * Invariants: `buffers` of a transfer under way are referenced here, so their memory stays; no more
 * of them are under way than the completion queue has room for.
 */
import { strict as assert } from 'node:assert';
import { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { ALIGNMENT_BYTES, alignedAddress, alignedBuffer } from './aligned-buffer.ts';
import {
  COMPLETION,
  COMPLETION_WORDS,
  ENTRY,
  ENTRY_HARDLINK,
  ENTRY_SKIP_SUCCESS,
  ENTRY_WORDS,
  MAP_ENTRIES,
  MAP_RINGS,
  OPERATION_READV,
  OPERATION_WRITE,
  OPERATION_WRITEV,
  type RingPlaces,
  ringParameters,
  ringPlaces,
} from './io-uring.ts';
import type { Libc } from './libc.ts';

/** Transfers under way at most; each has two entries. More go the other way, through threads. */
const TRANSFERS_MAX = 64;
/** Reads leave so many of them to writes, which somebody waits for in a flush. */
const WRITES_RESERVED = 32;
/** Buffers of one transfer at most; a `struct iovec` is 16 bytes, so 4 KiB for each transfer. */
const VECTOR_MAX = 256;
const VECTOR_WORDS = 4;
/**
 * Bytes of one transfer at most. The kernel takes the pages of a transfer one by one before the call
 * returns, which for more than this is worth a thread.
 */
const TRANSFER_BYTES_MAX = 256 * 1024;
/** The `user_data` of an entry that only writes into the pipe. */
const NOTIFICATION = 0xffff_ffff;
/** Completions are looked for so often in any case, whether the pipe has told of them or not. */
const WATCH_MS = 100;
const HALF = 2 ** 32;

/** The ring could not do it, for no reason of the disk: it is to be done another way. */
export const NOT_DONE = -1;
/** Errors that say so. */
const NOT_DONE_ERRORS: ReadonlySet<string> = new Set([
  'EAGAIN',
  'ECANCELED',
  'EINTR',
  'EINVAL',
  'ENOMEM',
  'EOPNOTSUPP',
]);

interface Transfer {
  readonly name: 'read' | 'write';
  readonly buffers: readonly Buffer[];
  readonly resolve: (bytes: number) => void;
  readonly reject: (error: Error) => void;
}

export class IoRing {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #places: RingPlaces;
  readonly #rings: Uint32Array;
  readonly #entries: Uint32Array;
  readonly #vectors = alignedBuffer(TRANSFERS_MAX * VECTOR_MAX * VECTOR_WORDS * 4);
  readonly #vectorWords: Uint32Array;
  readonly #pipe: Socket;
  readonly #pipeWriteFd: number;
  readonly #notice = alignedBuffer(ALIGNMENT_BYTES).fill(1);
  readonly #transfers: (Transfer | undefined)[] = new Array(TRANSFERS_MAX).fill(undefined);
  readonly #freeSlots = Array.from({ length: TRANSFERS_MAX }, (_, slot) => slot);
  #isSubmitting = false;
  #watch: NodeJS.Timeout | undefined;

  /** `undefined` where the kernel is older than Linux 5.19 or does not let this process have one. */
  static open(libc: Libc): IoRing | undefined {
    const parameters = ringParameters();
    const fd = libc.ringSetup(2 * TRANSFERS_MAX, parameters);
    if (fd < 0) return undefined;
    const places = ringPlaces(parameters);
    const pipe = libc.pipe();
    if (places === undefined || pipe === undefined) return undefined;
    const rings = libc.mapRing(fd, places.ringBytes, MAP_RINGS);
    const entries = libc.mapRing(fd, places.entriesBytes, MAP_ENTRIES);
    if (rings === undefined || entries === undefined) return undefined;
    return new IoRing(libc, fd, places, new Uint32Array(rings), new Uint32Array(entries), pipe);
  }

  private constructor(
    libc: Libc,
    fd: number,
    places: RingPlaces,
    rings: Uint32Array,
    entries: Uint32Array,
    pipe: { readonly readFd: number; readonly writeFd: number },
  ) {
    this.#libc = libc;
    this.#fd = fd;
    this.#places = places;
    this.#rings = rings;
    this.#entries = entries;
    const { buffer, byteOffset, length } = this.#vectors;
    this.#vectorWords = new Uint32Array(buffer, byteOffset, length / 4);
    this.#pipeWriteFd = pipe.writeFd;
    const onread = { buffer: Buffer.alloc(256), callback: this.#onNotice };
    this.#pipe = new Socket({ fd: pipe.readFd, readable: true, writable: false, onread });
    this.#pipe.unref();
  }

  /**
   * Hot path. Writes aligned buffers (`isAligned`) from `position` on. Resolves to the bytes written,
   * which may be fewer, or to `NOT_DONE`; `undefined` if the ring has no room for it.
   * Error: the disk's, as of `node:fs`.
   */
  write(
    fd: number,
    buffers: readonly Buffer[],
    byteCount: number,
    position: number,
  ): Promise<number> | undefined {
    return this.#transfer('write', fd, buffers, byteCount, position);
  }

  /** Hot path. Fills buffers, as `write` writes them; 0 bytes at the end of the file. */
  read(
    fd: number,
    buffers: readonly Buffer[],
    byteCount: number,
    position: number,
  ): Promise<number> | undefined {
    if (this.#freeSlots.length <= WRITES_RESERVED) return undefined;
    return this.#transfer('read', fd, buffers, byteCount, position);
  }

  /** Hot path. */
  #transfer(
    name: Transfer['name'],
    fd: number,
    buffers: readonly Buffer[],
    byteCount: number,
    position: number,
  ): Promise<number> | undefined {
    if (buffers.length > VECTOR_MAX || byteCount > TRANSFER_BYTES_MAX) return undefined;
    const slot = this.#freeSlots.pop();
    if (slot === undefined) return undefined;
    if (this.#freeSlots.length === TRANSFERS_MAX - 1) this.#pipe.ref();
    const isRead = name === 'read';
    this.#pushVectors(slot, buffers, isRead ? this.#libc.addressOf : alignedAddress);
    this.#pushTransfer(slot, isRead ? OPERATION_READV : OPERATION_WRITEV, fd, buffers, position);
    this.#pushNotification();
    if (!this.#isSubmitting) {
      this.#isSubmitting = true;
      // Those of the same moment go to the kernel together.
      process.nextTick(this.#submit);
    }
    return new Promise((resolve, reject) => {
      this.#transfers[slot] = { name, buffers, resolve, reject };
    });
  }

  /** Hot path. */
  #pushVectors(
    slot: number,
    buffers: readonly Buffer[],
    addressOf: (buffer: Buffer) => number,
  ): void {
    const vectors = this.#vectorWords;
    const start = slot * VECTOR_MAX * VECTOR_WORDS;
    for (let i = 0; i < buffers.length; i += 1) {
      const buffer = buffers[i]!;
      const address = addressOf(buffer);
      const at = start + i * VECTOR_WORDS;
      vectors[at] = address % HALF;
      vectors[at + 1] = address / HALF;
      vectors[at + 2] = buffer.length;
      vectors[at + 3] = 0;
    }
  }

  /** Hot path. */
  #pushTransfer(
    slot: number,
    operation: number,
    fd: number,
    buffers: readonly Buffer[],
    position: number,
  ): void {
    const at = this.#nextEntry();
    const entries = this.#entries;
    const address = alignedAddress(this.#vectors) + slot * VECTOR_MAX * VECTOR_WORDS * 4;
    entries[at + ENTRY.operation] = operation | (ENTRY_HARDLINK << 8);
    entries[at + ENTRY.fd] = fd;
    entries[at + ENTRY.offsetLow] = position % HALF;
    entries[at + ENTRY.offsetHigh] = position / HALF;
    entries[at + ENTRY.addressLow] = address % HALF;
    entries[at + ENTRY.addressHigh] = address / HALF;
    entries[at + ENTRY.length] = buffers.length;
    entries[at + ENTRY.userData] = slot;
  }

  /** Hot path. */
  #pushNotification(): void {
    const at = this.#nextEntry();
    const entries = this.#entries;
    const address = alignedAddress(this.#notice);
    entries[at + ENTRY.operation] = OPERATION_WRITE | (ENTRY_SKIP_SUCCESS << 8);
    entries[at + ENTRY.fd] = this.#pipeWriteFd;
    // Offset -1: the file's own, as write(2); a pipe has no other.
    entries[at + ENTRY.offsetLow] = 0xffff_ffff;
    entries[at + ENTRY.offsetHigh] = 0xffff_ffff;
    entries[at + ENTRY.addressLow] = address % HALF;
    entries[at + ENTRY.addressHigh] = address / HALF;
    entries[at + ENTRY.length] = 1;
    entries[at + ENTRY.userData] = NOTIFICATION;
  }

  /** Hot path. Takes the next submission entry, all zeros; the kernel sees it at the next submit. */
  #nextEntry(): number {
    const { sqTail, sqMask, sqArray } = this.#places;
    const rings = this.#rings;
    const tail = rings[sqTail]!;
    const index = tail & rings[sqMask]!;
    const at = index * ENTRY_WORDS;
    this.#entries.fill(0, at, at + ENTRY_WORDS);
    rings[sqArray + index] = index;
    Atomics.store(rings, sqTail, (tail + 1) >>> 0);
    return at;
  }

  /** Hot path. */
  readonly #submit = (): void => {
    this.#isSubmitting = false;
    const { sqHead, sqTail } = this.#places;
    const rings = this.#rings;
    const tail = rings[sqTail]!;
    this.#libc.ringEnter(this.#fd, (tail - Atomics.load(rings, sqHead)) >>> 0);
    const head = Atomics.load(rings, sqHead);
    if (head !== tail) this.#withdraw(head, tail);
    this.#watch ??= setTimeout(this.#onWatch, WATCH_MS).unref();
    this.#complete();
  };

  /** What the kernel had no memory to take. */
  #withdraw(head: number, tail: number): void {
    const { sqTail, sqMask } = this.#places;
    const mask = this.#rings[sqMask]!;
    for (let at = head; at !== tail; at = (at + 1) >>> 0) {
      const slot = this.#entries[(at & mask) * ENTRY_WORDS + ENTRY.userData]!;
      // A transfer whose notification alone is withdrawn is found by the watch.
      if (slot !== NOTIFICATION) this.#takeSlot(slot).resolve(NOT_DONE);
    }
    Atomics.store(this.#rings, sqTail, head);
  }

  readonly #onNotice = (): boolean => {
    this.#complete();
    return true;
  };

  readonly #onWatch = (): void => {
    this.#watch = undefined;
    this.#complete();
    if (this.#freeSlots.length < TRANSFERS_MAX) {
      this.#watch = setTimeout(this.#onWatch, WATCH_MS).unref();
    }
  };

  /** Hot path. Settles all transfers that have ended. */
  #complete(): void {
    const { cqHead, cqTail, cqMask, cqEntries } = this.#places;
    const rings = this.#rings;
    const mask = rings[cqMask]!;
    const tail = Atomics.load(rings, cqTail);
    let head = rings[cqHead]!;
    while (head !== tail) {
      const at = cqEntries + (head & mask) * COMPLETION_WORDS;
      const slot = rings[at + COMPLETION.userData]!;
      const result = rings[at + COMPLETION.result]! | 0;
      head = (head + 1) >>> 0;
      Atomics.store(rings, cqHead, head);
      // A notification that failed only delays: the watch comes.
      if (slot !== NOTIFICATION) this.#settle(slot, result);
    }
  }

  /** Hot path. */
  #settle(slot: number, result: number): void {
    const { name, resolve, reject } = this.#takeSlot(slot);
    if (result >= 0) {
      resolve(result);
      return;
    }
    const code = getSystemErrorName(result);
    if (NOT_DONE_ERRORS.has(code)) resolve(NOT_DONE);
    else reject(Object.assign(new Error(`${code}: ${name}`), { code, errno: result }));
  }

  /** Hot path. */
  #takeSlot(slot: number): Transfer {
    const transfer = this.#transfers[slot];
    assert(transfer !== undefined, `slot ${slot} of the ring ended twice`);
    this.#transfers[slot] = undefined;
    this.#freeSlots.push(slot);
    if (this.#freeSlots.length === TRANSFERS_MAX) this.#pipe.unref();
    return transfer;
  }
}
