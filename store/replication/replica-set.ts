/**
 * The replicas of an attached volume: who gets writes, who serves reads, what the record says.
 *
 * Owns: the moves between states, the masks of the data path, and the loop that makes the volume's
 * record follow the states. Does not own: what leads to a move (failures, resync), nor the writes.
 *
 * Invariants:
 * - `recordMask` holds every replica that the record may name now, whatever an unanswered
 *   compare-and-swap did; so nobody who could be asked at the next attach is forgotten.
 * - A write is acknowledged only while `areAcksAllowed`: every replica in `recordMask` is live, and
 *   the record surely names `minInSync`. So no acknowledgement comes before the record was changed.
 * - A replica that failed stays in the record as long as fewer than `minInSync` would remain: it
 *   has every acknowledged write, for nothing is acknowledged without it. One whose copy is wrong
 *   is taken out as long as one remains.
 */
import type { Clock } from '../runtime/clock.ts';
import { describeError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import { countReplicas, type Replica } from './replica.ts';
import type { InSyncChange, VolumeLease } from './volume-lease.ts';

export interface ReplicaSetOptions {
  readonly replicas: readonly Replica[];
  readonly lease: VolumeLease;
  readonly minInSync: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Told of changes, in the order of registration. */
export interface ReplicaSetListener {
  /** The replica serves nothing from now on, and nothing that it was asked for counts. */
  onDropped?(replica: Replica): void;
  /** Acknowledgements are allowed (again), or reads have a copy to go to (again). */
  onBetter?(): void;
}

export class ReplicaSet {
  readonly replicas: readonly Replica[];
  readonly minInSync: number;
  /** Replicas that hold every applied write and serve reads. */
  liveMask = 0;
  /** Live ones, and those that are being brought up to date object by object. */
  sendMask = 0;
  recordMask = 0;
  /** The record names no replica that is not live. */
  isRecordCovered = false;
  areAcksAllowed = false;
  readonly #lease: VolumeLease;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners: ReplicaSetListener[] = [];
  /** What the record surely holds, but for a change that is not answered yet. */
  #knownRecordMask: number;
  /** The fewest replicas that the record may name now. */
  #namedAtLeast: number;
  #isFollowing = false;
  readonly #waiters: (() => void)[] = [];

  constructor(options: ReplicaSetOptions) {
    this.replicas = options.replicas;
    this.minInSync = options.minInSync;
    this.#lease = options.lease;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#lease.onLost(() => this.#wake());
    this.#knownRecordMask = this.#maskOf(options.lease.record.replicas.inSync);
    this.recordMask = this.#knownRecordMask;
    this.#namedAtLeast = countReplicas(this.#knownRecordMask);
    this.#update();
  }

  listen(listener: ReplicaSetListener): void {
    this.#listeners.push(listener);
  }

  get liveCount(): number {
    return countReplicas(this.liveMask);
  }

  isInRecord(replica: Replica): boolean {
    return (this.recordMask & replica.bit) !== 0;
  }

  isOnlyLive(replica: Replica): boolean {
    return this.liveMask === replica.bit;
  }

  /** Takes a replica out of service, and out of the record as soon as that may be. */
  drop(replica: Replica, reason: string, isCopyBad = false): void {
    const { state } = replica;
    if (state === 'leaving' || state === 'out') return;
    const wasLive = replica.isLive;
    replica.reason = reason;
    replica.isCopyBad ||= isCopyBad;
    replica.behind.clear();
    replica.objectsUnreadable = 0;
    // A record that may name it, even by a change not answered yet, has to be changed first.
    replica.move(this.isInRecord(replica) ? 'leaving' : 'out', this.#clock.nowMs());
    this.#logReplica('warn', replica, wasLive ? 'a replica is taken out' : 'a resync failed');
    if (wasLive) replica.takeOuts += 1;
    this.#update();
    for (const listener of this.#listeners) listener.onDropped?.(replica);
    this.#wake();
    this.#follow();
  }

  /** Makes the record agree with the states; needed once, after an attach. */
  start(): void {
    this.#follow();
  }

  /** Resolves at the next change for better or worse; the lease must be looked at after it. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Wakes those who wait for a change; the lease is over. */
  end(): void {
    this.#wake();
  }

  startListing(replica: Replica): void {
    replica.behind.clear();
    replica.move('listing', this.#clock.nowMs());
    this.#update();
  }

  startCopying(replica: Replica): void {
    replica.move('copying', this.#clock.nowMs());
    this.#update();
  }

  /** The replica has everything that is applied; from now on nothing is acknowledged without it. */
  startJoining(replica: Replica): void {
    replica.move('joining', this.#clock.nowMs());
    replica.isCopyBad = false;
    this.#update();
    this.#tellBetter();
    this.#follow();
  }

  #maskOf(nodeIds: readonly string[]): number {
    let mask = 0;
    for (const replica of this.replicas) if (nodeIds.includes(replica.nodeId)) mask |= replica.bit;
    return mask;
  }

  #update(): void {
    this.liveMask = 0;
    this.sendMask = 0;
    for (const replica of this.replicas) {
      if (replica.isLive) this.liveMask |= replica.bit;
      if (replica.isLive || replica.state === 'copying') this.sendMask |= replica.bit;
    }
    this.isRecordCovered = (this.recordMask & ~this.liveMask) === 0;
    this.areAcksAllowed = this.isRecordCovered && this.#namedAtLeast >= this.minInSync;
  }

  #tellBetter(): void {
    for (const listener of this.#listeners) listener.onBetter?.();
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** The replicas that the record should name. */
  #wantedMask(): number {
    const failed = this.#knownRecordMask & ~this.liveMask;
    if (this.liveMask === 0) return this.#knownRecordMask;
    if (this.liveCount >= this.minInSync) return this.liveMask;
    let kept = this.liveMask;
    for (const replica of this.replicas) {
      if ((failed & replica.bit) !== 0 && !replica.isCopyBad) kept |= replica.bit;
    }
    return kept;
  }

  #follow(): void {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    this.#followStates().then(
      () => {
        this.#isFollowing = false;
      },
      (error: unknown) => {
        this.#isFollowing = false;
        this.#lease.lose(`the in-sync set cannot be changed: ${describeError(error)}`);
      },
    );
  }

  async #followStates(): Promise<void> {
    // What fails in the same turn goes into one change.
    await undefined;
    while (this.#needsChange()) {
      let proposed = 0;
      const inSync = await this.#lease.changeInSync(() => {
        proposed = this.#wantedMask();
        this.recordMask |= proposed;
        this.#namedAtLeast = Math.min(this.#namedAtLeast, countReplicas(proposed));
        this.#update();
        return this.#inSyncChange(proposed);
      });
      this.#lease.onLost(() => this.#wake());
      this.#knownRecordMask = this.#maskOf(inSync);
      this.recordMask = this.#knownRecordMask;
      this.#namedAtLeast = countReplicas(this.#knownRecordMask);
      this.#settleStates();
      this.#update();
      this.#tellBetter();
    }
  }

  #needsChange(): boolean {
    if (this.recordMask !== this.#knownRecordMask) return true;
    if (this.#wantedMask() !== this.#knownRecordMask || !this.#areDirectoriesRecorded()) {
      return true;
    }
    this.#settleStates();
    return false;
  }

  #areDirectoriesRecorded(): boolean {
    const { directories } = this.#lease.record.replicas;
    return this.replicas.every(
      (replica) => !replica.isLive || directories[replica.nodeId] === replica.directoryId,
    );
  }

  /** Replicas whose place in the record is settled move on. */
  #settleStates(): void {
    for (const replica of this.replicas) {
      const isNamed = (this.recordMask & replica.bit) !== 0;
      if (replica.state === 'joining' && isNamed) {
        replica.move('inSync', this.#clock.nowMs());
        this.#logReplica('info', replica, 'a replica is in sync');
      } else if (replica.state === 'leaving' && !isNamed) {
        replica.move('out', this.#clock.nowMs());
        this.#logReplica('warn', replica, 'a replica is out of the in-sync set');
      }
    }
  }

  #inSyncChange(mask: number): InSyncChange {
    const { inSync: named, directories: known } = this.#lease.record.replicas;
    const isKept = (nodeId: string) =>
      this.replicas.some((replica) => replica.nodeId === nodeId && (mask & replica.bit) !== 0);
    const inSync = named.filter(isKept);
    const directories = { ...known };
    for (const replica of this.replicas) {
      if ((mask & replica.bit) === 0) continue;
      if (!inSync.includes(replica.nodeId)) inSync.push(replica.nodeId);
      if (replica.isLive && replica.directoryId !== undefined) {
        directories[replica.nodeId] = replica.directoryId;
      }
    }
    return { inSync, directories };
  }

  #logReplica(level: 'info' | 'warn', replica: Replica, message: string): void {
    const { record, epoch } = this.#lease;
    const { nodeId, state, reason } = replica;
    this.#log[level](
      { volume: record.name, node: nodeId, epoch, state, reason, inSync: this.liveCount },
      message,
    );
  }
}
