/**
 * The states of a cached block and the legal moves between them.
 *
 * Owns: the states, the moves, and the sets of states that share a property. Does not own: where
 * states are kept (`block-table.ts`) or who moves them.
 * Invariant: a block is in exactly one state.
 *
 * - `absent`: not here; the store knows. Leaves by a fetch, a whole write, a trim
 * - `filling`: being fetched; its slot belongs to the fetch. A write or trim wins over the fetch
 * - `clean`, `hole`, `zero`: as in the store. `hole` and `zero` (allocated) have no slot
 * - `dirty`, `dirtyHole`, `dirtyZero`: newer than the store
 * - `flushing…`: on its way to the store; its bytes are not changed. A write takes a new slot and
 *   makes it dirty; the old slot belongs to the flight until that settles. Settled: clean, or
 *   dirty again if the write failed
 * Every state can become `absent` when its volume is thrown away; clean ones also by eviction.
 */
import assert from 'node:assert';
import { BlockKind } from '../../store/engine/store-node.ts';

/** Numbers, because they are compared and counted on the hot path. */
export const BlockState = {
  absent: 0,
  hole: 1,
  zero: 2,
  clean: 3,
  dirty: 4,
  dirtyHole: 5,
  dirtyZero: 6,
  flushing: 7,
  flushingHole: 8,
  flushingZero: 9,
  filling: 10,
} as const;
export type BlockState = (typeof BlockState)[keyof typeof BlockState];

export const STATE_COUNT = 11;
export const STATE_NAMES = Object.keys(BlockState) as readonly (keyof typeof BlockState)[];

function setOf(...states: BlockState[]): number {
  return states.reduce<number>((bits, state) => bits | (1 << state), 0);
}

const S = BlockState;

/** Sets of states, as bits: `(SET >> state) & 1`. */
export const READS_AS_ZERO = setOf(
  S.hole,
  S.zero,
  S.dirtyHole,
  S.dirtyZero,
  S.flushingHole,
  S.flushingZero,
);
export const READS_AS_DATA = setOf(S.clean, S.dirty, S.flushing);
export const READABLE = READS_AS_ZERO | READS_AS_DATA;
export const IS_DIRTY = setOf(S.dirty, S.dirtyHole, S.dirtyZero);
export const IS_HOLE = setOf(S.hole, S.dirtyHole, S.flushingHole);
export const IS_ZERO = setOf(S.zero, S.dirtyZero, S.flushingZero);
/** What eviction may turn into `absent`. */
export const IS_EVICTABLE = setOf(S.hole, S.zero, S.clean);

const WRITTEN = IS_DIRTY;

const LEGAL_MOVES: readonly number[] = [
  /* absent */ setOf(S.filling) | WRITTEN,
  /* hole */ setOf(S.absent) | WRITTEN,
  /* zero */ setOf(S.absent) | WRITTEN,
  /* clean */ setOf(S.absent) | WRITTEN,
  /* dirty */ setOf(S.flushing, S.dirtyHole, S.dirtyZero, S.absent),
  /* dirtyHole */ setOf(S.flushingHole, S.dirty, S.dirtyZero, S.absent),
  /* dirtyZero */ setOf(S.flushingZero, S.dirty, S.dirtyHole, S.absent),
  /* flushing */ setOf(S.clean, S.absent) | WRITTEN,
  /* flushingHole */ setOf(S.hole, S.absent) | WRITTEN,
  /* flushingZero */ setOf(S.zero, S.absent) | WRITTEN,
  /* filling */ setOf(S.clean, S.hole, S.zero, S.absent) | WRITTEN,
];

/** Hot path. */
export function isLegalMove(from: number, to: number): boolean {
  return ((LEGAL_MOVES[from]! >> to) & 1) === 1;
}

/** Stops the process on a broken assumption; names the legal moves. */
export function failMove(from: number, to: number): never {
  const legal = STATE_NAMES.filter((_name, state) => isLegalMove(from, state));
  assert.fail(`a block moved from ${STATE_NAMES[from]} to ${STATE_NAMES[to]}; legal: ${legal}`);
}

/** The kind under which a readable block is known to the store or will be. */
export function kindOf(state: number): BlockKind {
  if ((IS_HOLE >> state) & 1) return BlockKind.hole;
  if ((IS_ZERO >> state) & 1) return BlockKind.zero;
  return BlockKind.data;
}
