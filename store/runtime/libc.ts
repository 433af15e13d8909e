/**
 * System calls that Node does not offer, called in the C library of the process.
 *
 * Owns: their names, types and flags; knowing whether they can be had here. Does not own: what they
 * are used for. Each has another way of doing the same through `node:fs`, which is what is used where
 * `libc` is `undefined`: on other systems than Linux, or where the foreign function interface has no
 * build for the processor.
 * Invariant: no call here waits for a disk, a peer or another process.
 */
import { endianness } from 'node:os';

export interface Libc {
  /** preadv(2). `vector` holds a `struct iovec` for each buffer. Bytes read, or -1. */
  readonly preadv2: (
    fd: number,
    vector: Uint32Array,
    count: number,
    position: number,
    flags: number,
  ) => number;
  /** io_uring_setup(2). `parameters` is a `struct io_uring_params`. A file descriptor, or -1. */
  readonly ringSetup: (entries: number, parameters: Uint32Array) => number;
  /** io_uring_enter(2), without waiting. The number of entries taken, or -1. */
  readonly ringEnter: (fd: number, submitCount: number) => number;
  /** mmap(2) of a ring's memory, shared and populated; `undefined` if that fails. */
  readonly mapRing: (fd: number, bytes: number, offset: number) => ArrayBuffer | undefined;
  /** pipe(2) whose ends are not inherited and never wait; `undefined` if that fails. */
  readonly pipe: () => { readonly readFd: number; readonly writeFd: number } | undefined;
  /** Where the first byte lies. Memory of buffers is outside of V8's heap and does not move. */
  readonly addressOf: (buffer: Buffer | ArrayBuffer) => number;
}

/** preadv2(2): answer from memory alone, with what of it is there. */
export const RWF_NOWAIT = 8;

/** Of <asm/unistd.h>; the same number on all processors. */
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATED = 0x8001;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
const O_NONBLOCK_CLOEXEC = 0o2_004_000;

async function load(): Promise<Libc | undefined> {
  // Rings and vectors are laid out here as 32-bit words, low half first.
  if (process.platform !== 'linux' || endianness() !== 'LE') return undefined;
  try {
    const { default: koffi } = await import('koffi');
    const process = koffi.load(null);
    const preadv2 = process.func('preadv2', 'int64', ['int', 'void *', 'int', 'int64', 'int']);
    const setup = process.func('syscall', 'int64', ['int64', 'uint', 'void *']);
    const enter = process.func('syscall', 'int64', [
      ...['int64', 'uint', 'uint', 'uint', 'uint', 'void *', 'size_t'],
    ]);
    const mmap = process.func('mmap', 'void *', [
      ...['void *', 'size_t', 'int', 'int', 'int', 'int64'],
    ]);
    const pipe2 = process.func('pipe2', 'int', ['void *', 'int']);
    return {
      preadv2,
      ringSetup: (entries, parameters) => setup(SYS_IO_URING_SETUP, entries, parameters),
      ringEnter: (fd, submitCount) => enter(SYS_IO_URING_ENTER, fd, submitCount, 0, 0, null, 0),
      mapRing(fd, bytes, offset) {
        const address = mmap(null, bytes, PROT_READ_WRITE, MAP_SHARED_POPULATED, fd, offset);
        return address === MAP_FAILED ? undefined : koffi.view(address, bytes);
      },
      pipe() {
        const ends = new Int32Array(2);
        if (pipe2(ends, O_NONBLOCK_CLOEXEC) !== 0) return undefined;
        return { readFd: ends[0]!, writeFd: ends[1]! };
      },
      addressOf: (buffer) => Number(koffi.address(buffer)),
    };
  } catch {
    // No build for this system: there is another way for each call.
    return undefined;
  }
}

export const libc = await load();
