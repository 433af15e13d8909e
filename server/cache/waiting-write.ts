/**
 * A write that cannot be done at once: it waits for admission, for room, or for blocks that it
 * covers in part.
 *
 * Owns: the order of the waits. Does not own: the write itself, which is attempted again after each.
 * Invariants: what admission granted is given back, whatever happens; neither room nor admission
 * is waited for while a pin is held.
 */
import { Mutex } from 'async-mutex';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { CachedVolume } from './cached-volume.ts';
import { type BlockRange, blocksOf, fetchMissing } from './fetching.ts';
import { WriteOutcome, WriteRight } from './resident-io.ts';

/** A range of one object, in bytes. */
export interface Piece {
  readonly start: number;
  readonly bytes: number;
}

type Attempt = (right: number) => WriteOutcome;

/**
 * Attempts until the write is done. Errors: those of the store when a block had to be fetched,
 * `unavailable` after the volume was closed.
 */
export async function writeWaiting(
  volume: CachedVolume,
  objectIndex: number,
  piece: Piece,
  attempt: Attempt,
): Promise<void> {
  const { admission } = volume.cache;
  let right: number = WriteRight.none;
  const { first, last } = blocksOf(piece.start, piece.bytes);
  // All of them: one that is dirty now may have been written back when the write is done.
  const blocks = last - first + 1;
  let outcome = attempt(right);
  try {
    while (outcome !== WriteOutcome.done) {
      volume.checkOpen();
      if (outcome === WriteOutcome.needsRoom) {
        outcome = await attemptWithRoom(volume, right, attempt);
      } else if (outcome === WriteOutcome.needsAdmission) {
        await admission.wait(blocks, volume);
        right = WriteRight.admitted;
        outcome = attempt(right);
      } else {
        outcome = await attemptFetched(volume, objectIndex, piece, right, attempt);
      }
    }
  } finally {
    if (right === WriteRight.admitted) admission.release(blocks);
  }
}

async function attemptWithRoom(
  volume: CachedVolume,
  right: number,
  attempt: Attempt,
): Promise<WriteOutcome> {
  let outcome: WriteOutcome = WriteOutcome.needsRoom;
  await volume.cache.room.wait(() => {
    if (volume.isClosed) return true;
    outcome = attempt(right | WriteRight.first);
    return outcome !== WriteOutcome.needsRoom;
  });
  return outcome;
}

/**
 * Fetches the blocks that are written in part, then attempts. One such write of an object at a
 * time: those that wait for the same block find it there when it is their turn.
 */
async function attemptFetched(
  volume: CachedVolume,
  objectIndex: number,
  piece: Piece,
  right: number,
  attempt: Attempt,
): Promise<WriteOutcome> {
  const { cache } = volume;
  const fetchAndAttempt = async () => {
    const range = blocksOf(piece.start, piece.bytes);
    const object = await fetchMissing(volume, objectIndex, range, edgesOf(piece));
    // Before the attempt, so that it may evict other blocks of the same object.
    object.pins -= 1;
    const outcome = attempt(right);
    cache.room.wake();
    return outcome;
  };
  const object = cache.find(volume, objectIndex);
  // Evicted already: the fetch makes it anew and holds on to it.
  if (object === undefined) return fetchAndAttempt();
  object.mutex ??= new Mutex();
  return object.mutex.runExclusive(fetchAndAttempt);
}

/** The blocks that the range covers in part. */
function edgesOf(piece: Piece): BlockRange[] {
  const { first, last } = blocksOf(piece.start, piece.bytes);
  const isFirstEdge = piece.start % BLOCK_BYTES !== 0;
  const isLastEdge = (piece.start + piece.bytes) % BLOCK_BYTES !== 0;
  if (first === last) return [{ first, last }];
  const edges: BlockRange[] = [];
  if (isFirstEdge) edges.push({ first, last: first });
  if (isLastEdge) edges.push({ first: last, last });
  return edges;
}
