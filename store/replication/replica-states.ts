/**
 * The states of one replica of an attached volume, and their legal moves.
 *
 * - `inSync`: holds every acknowledged write; gets every write and must have it before the client
 *   is answered; serves reads; is in the volume's record
 * - `leaving`: failed, and still in the record; gets nothing. While such a replica is in the record
 *   no write is acknowledged. It is taken out as soon as enough others remain
 * - `out`: not in the record; gets nothing
 * - `listing`: back again; its versions are compared
 * - `copying`: gets what it missed, and the writes of every object that it has current
 * - `joining`: has everything and gets everything; the record is being told
 */
export type ReplicaState = 'inSync' | 'leaving' | 'out' | 'listing' | 'copying' | 'joining';

const LEGAL_MOVES: Readonly<Record<ReplicaState, readonly ReplicaState[]>> = {
  inSync: ['leaving'],
  leaving: ['out', 'listing'],
  out: ['listing'],
  listing: ['copying', 'leaving', 'out'],
  copying: ['joining', 'leaving', 'out'],
  joining: ['inSync', 'leaving', 'out'],
};

/** The state moved to; an illegal move is a bug. */
export function moveReplica(from: ReplicaState, to: ReplicaState): ReplicaState {
  const legal = LEGAL_MOVES[from];
  if (!legal.includes(to)) {
    throw new Error(`a replica cannot move from ${from} to ${to}; only to ${legal.join(', ')}`);
  }
  return to;
}
