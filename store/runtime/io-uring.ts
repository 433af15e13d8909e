/**
 * The memory that a ring shares with the kernel: io_uring(7) and <linux/io_uring.h>.
 *
 * Owns: where each field of an entry lies. Does not own: what is asked for and when.
 * All is read and written as 32-bit words of a little-endian processor; a 64-bit field is two of
 * them, the low one first.
 */

const WORD_BYTES = 4;

/** Of `struct io_uring_params`, in words. */
export const PARAMETER_WORDS = 30;
const PARAMETER = {
  sqEntries: 0,
  cqEntries: 1,
  flags: 2,
  features: 5,
  sqOffsets: 10,
  cqOffsets: 20,
};
/** Of `struct io_sqring_offsets`, in words. */
const SQ_OFFSET = { head: 0, tail: 1, ringMask: 2, array: 6 };
/** Of `struct io_cqring_offsets`, in words. */
const CQ_OFFSET = { head: 0, tail: 1, ringMask: 2, cqes: 5 };

/** IORING_SETUP_SUBMIT_ALL (Linux 5.18): an entry that is refused does not stop those behind it. */
const SETUP_SUBMIT_ALL = 1 << 7;
/** IORING_SETUP_COOP_TASKRUN (Linux 5.19): a completion does not interrupt a running program. */
const SETUP_COOP_TASKRUN = 1 << 8;
/** IORING_FEAT_SINGLE_MMAP: both rings are one mapping. */
const FEATURE_SINGLE_MMAP = 1 << 0;

/** The `offset` of mmap(2) for the rings, and for the submission entries. */
export const MAP_RINGS = 0;
export const MAP_ENTRIES = 0x1000_0000;

/** `struct io_uring_sqe`, in words. */
export const ENTRY_WORDS = 16;
export const ENTRY = {
  /** opcode (8 bits), flags (8), ioprio (16). */
  operation: 0,
  fd: 1,
  offsetLow: 2,
  offsetHigh: 3,
  addressLow: 4,
  addressHigh: 5,
  length: 6,
  userData: 8,
} as const;

/** IORING_OP_READV, IORING_OP_WRITEV and IORING_OP_WRITE. */
export const OPERATION_READV = 1;
export const OPERATION_WRITEV = 2;
export const OPERATION_WRITE = 23;
/** IOSQE_IO_HARDLINK: the next entry starts when this one has ended, well or not. */
export const ENTRY_HARDLINK = 1 << 3;
/** IOSQE_CQE_SKIP_SUCCESS: only a failure is told. */
export const ENTRY_SKIP_SUCCESS = 1 << 6;

/** `struct io_uring_cqe`, in words. */
export const COMPLETION_WORDS = 4;
export const COMPLETION = { userData: 0, result: 2 } as const;

export interface RingPlaces {
  readonly entryCount: number;
  readonly ringBytes: number;
  readonly entriesBytes: number;
  /** In words of the rings' mapping. */
  readonly sqHead: number;
  readonly sqTail: number;
  readonly sqMask: number;
  readonly sqArray: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqMask: number;
  readonly cqEntries: number;
}

/** What io_uring_setup(2) is asked for. */
export function ringParameters(): Uint32Array {
  const words = new Uint32Array(PARAMETER_WORDS);
  words[PARAMETER.flags] = SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN;
  return words;
}

/** Where everything lies, from the answer of io_uring_setup(2); `undefined` for too old a kernel. */
export function ringPlaces(parameters: Uint32Array): RingPlaces | undefined {
  if ((parameters[PARAMETER.features]! & FEATURE_SINGLE_MMAP) === 0) return undefined;
  const sq = (field: number): number => parameters[PARAMETER.sqOffsets + field]!;
  const cq = (field: number): number => parameters[PARAMETER.cqOffsets + field]!;
  const entryCount = parameters[PARAMETER.sqEntries]!;
  const sqEndBytes = sq(SQ_OFFSET.array) + entryCount * WORD_BYTES;
  const cqEndBytes =
    cq(CQ_OFFSET.cqes) + parameters[PARAMETER.cqEntries]! * COMPLETION_WORDS * WORD_BYTES;
  return {
    entryCount,
    ringBytes: Math.max(sqEndBytes, cqEndBytes),
    entriesBytes: entryCount * ENTRY_WORDS * WORD_BYTES,
    sqHead: sq(SQ_OFFSET.head) / WORD_BYTES,
    sqTail: sq(SQ_OFFSET.tail) / WORD_BYTES,
    sqMask: sq(SQ_OFFSET.ringMask) / WORD_BYTES,
    sqArray: sq(SQ_OFFSET.array) / WORD_BYTES,
    cqHead: cq(CQ_OFFSET.head) / WORD_BYTES,
    cqTail: cq(CQ_OFFSET.tail) / WORD_BYTES,
    cqMask: cq(CQ_OFFSET.ringMask) / WORD_BYTES,
    cqEntries: cq(CQ_OFFSET.cqes) / WORD_BYTES,
  };
}
