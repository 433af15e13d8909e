/**
 * One node's copy of an attached volume, as the holder of the lease sees it.
 *
 * Owns: its state, what it is known to lack, and its figures. Does not own: the decisions; the
 * replica set moves it, the resync brings it up to date.
 * Invariants: an object in `behind` may differ on this node, one that is not in it has the newest
 * version here or a write of it on its way; `behind` means something in `listing` and `copying`
 * only. `suspects` are objects whose version here may carry other bytes than elsewhere.
 */
import type { Clock } from '../runtime/clock.ts';
import { DeltaLog } from './delta-log.ts';
import { ObjectBitmap } from './object-bitmap.ts';
import { ReadLatency } from './read-latency.ts';
import type { ReplicaLink } from './replica-link.ts';
import { moveReplica, type ReplicaState } from './replica-states.ts';

export class Replica {
  readonly index: number;
  /** `1 << index`: sets of replicas are numbers on the data path. */
  readonly bit: number;
  readonly nodeId: string;
  readonly link: ReplicaLink;
  readonly delta: DeltaLog;
  readonly behind = new ObjectBitmap();
  readonly suspects = new Set<number>();
  readonly latency = new ReadLatency();
  /** The directory whose content is known to be this copy; `undefined` if none was recorded. */
  directoryId: string | undefined;
  /** The opening of the node whose versions were compared last. */
  openId: string | undefined;
  /** Why it is not in sync. */
  reason = '';
  /**
   * Its copy is known to be wrong, or was not seen at attach and may hold a write that nobody else
   * has: it is taken out of the record even if too few remain for writing.
   */
  isCopyBad = false;
  /** Objects that keep it from coming in sync, because no copy can be read whole. */
  objectsUnreadable = 0;
  resyncBytes = 0;
  resyncObjects = 0;
  takeOuts = 0;
  /** Blocks whose bytes did not have their checksum, or that the node could not read. */
  crcFailures = 0;
  /** Runs of blocks that were written again with the bytes of a good copy. */
  repairs = 0;
  failedResyncs = 0;
  #state: ReplicaState;
  #stateSinceMs: number;

  constructor(
    index: number,
    link: ReplicaLink,
    state: ReplicaState,
    blocksPerObject: number,
    clock: Clock,
  ) {
    this.index = index;
    this.bit = 1 << index;
    this.nodeId = link.nodeId;
    this.link = link;
    this.delta = new DeltaLog(blocksPerObject);
    this.#state = state;
    this.#stateSinceMs = clock.nowMs();
  }

  get state(): ReplicaState {
    return this.#state;
  }

  get stateSinceMs(): number {
    return this.#stateSinceMs;
  }

  is(state: ReplicaState): boolean {
    return this.#state === state;
  }

  /** Whether it holds everything, gets everything and serves reads. */
  get isLive(): boolean {
    return this.#state === 'inSync' || this.#state === 'joining';
  }

  move(to: ReplicaState, nowMs: number): void {
    this.#state = moveReplica(this.#state, to);
    this.#stateSinceMs = nowMs;
  }
}

/** How many replicas a set holds. */
export function countReplicas(mask: number): number {
  let count = 0;
  for (let left = mask; left !== 0; left &= left - 1) count += 1;
  return count;
}
