/**
 * Reads of an attached volume: from the copy that answers fastest, from another when it is slow.
 *
 * Owns: the choice of a copy, the hedge, the checksums, the repair of a bad copy. Does not own: who
 * is live, which version is expected (table, writer and diverged objects say so).
 *
 * Invariants:
 * - A copy answers only with the version expected of it, so a stale one cannot answer.
 * - Where more than one copy can be asked, each reads into a buffer of its own; the caller's
 *   buffers get checked bytes, once, and a late answer finds nobody else's memory.
 */
import { compareVersions, type Version } from '../engine/store-node.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import { hasBlockIn } from './block-set.ts';
import type { DivergedObjects } from './diverged-objects.ts';
import { EXPLORE_EVERY, HEDGE_TICK_MS, TOGETHER_BLOCKS_MAX } from './limits.ts';
import { PendingRead, type ReadAttempt, type ReadOwner } from './pending-read.ts';
import { repairBlocks } from './read-repair.ts';
import type { Replica } from './replica.ts';
import { ScratchBuffers } from './scratch-buffers.ts';
import { objectKey, type VolumeContext } from './volume-context.ts';
import type { Writer } from './writer.ts';

export class Reader implements ReadOwner {
  readonly #context: VolumeContext;
  readonly #diverged: DivergedObjects;
  readonly #writer: Writer;
  readonly #scratch = new ScratchBuffers();
  readonly #pending = new Set<PendingRead>();
  #isTicking = false;
  #reads = 0;
  /** The copy chosen last in this turn of the event loop, and the blocks it was asked for. */
  #chosen: Replica | undefined;
  #chosenBlocks = 0;
  readonly #onEndOfTurn = () => {
    this.#chosen = undefined;
  };

  constructor(context: VolumeContext, diverged: DivergedObjects, writer: Writer) {
    this.#context = context;
    this.#diverged = diverged;
    this.#writer = writer;
  }

  /** As `ObjectStore.read`, for an object that exists. */
  read(objectIndex: number, startBlock: number, into: readonly Buffer[]): Promise<Uint8Array> {
    const { lease } = this.#context;
    if (!lease.holds()) return Promise.reject(lease.lost);
    const read = new PendingRead(this, objectIndex, startBlock, into, this.#context.clock.nowMs());
    if (this.#mustSettle(read)) return this.#readSettled(read);
    return this.#start(read);
  }

  /** As `ObjectStore.map`: from the copy that answers fastest, another if it cannot. */
  async map(objectIndex: number): Promise<Uint8Array> {
    const { lease, set, blocksPerObject, volumeName } = this.#context;
    await this.#diverged.settle(objectIndex);
    let failure: unknown;
    for (;;) {
      if (!lease.holds()) throw lease.lost!;
      const live = set.replicas.filter((replica) => replica.isLive);
      live.sort((a, b) => a.latency.score - b.latency.score);
      for (const replica of live) {
        try {
          const key = objectKey(this.#context, objectIndex);
          const kinds = await replica.link.node.map(key, blocksPerObject);
          if (!lease.holds()) throw lease.lost!;
          return kinds;
        } catch (error) {
          if (!(error instanceof DroverError) || !lease.holds()) throw error;
          failure = error;
        }
      }
      if (live.length > 0) {
        throw new DroverError('unavailable', `volume ${volumeName} cannot be mapped`, failure);
      }
      await set.changed();
    }
  }

  /** Reads every block of an object and so repairs the copies that it finds bad. */
  async heal(objectIndex: number): Promise<void> {
    const { blocksPerObject, set, clock } = this.#context;
    for (const replica of set.replicas) {
      if (!replica.isLive) continue;
      const scratch = this.#scratch.take(blocksPerObject);
      const into = [scratch.subarray(0, PendingRead.bytesOf(blocksPerObject))];
      const read = new PendingRead(this, objectIndex, 0, into, clock.nowMs());
      read.firstChoice = replica;
      read.isHealing = true;
      try {
        await this.#start(read);
        await read.repaired;
      } finally {
        this.#scratch.giveBack(scratch);
      }
    }
  }

  #mustSettle(read: PendingRead): boolean {
    const divergence = this.#diverged.get(read.objectIndex);
    if (divergence === undefined) return false;
    const { changedBlocks, versions } = divergence;
    return (
      changedBlocks === undefined ||
      versions.includes(undefined) ||
      hasBlockIn(changedBlocks, read.startBlock, read.blockCount)
    );
  }

  #readSettled(read: PendingRead): Promise<Uint8Array> {
    this.#context.stats.reads += 1;
    this.#pending.add(read);
    this.#askSettled(read);
    return read.done;
  }

  /** A write failed while the read was under way, and left the copies with different versions. */
  #askSettled(read: PendingRead): void {
    read.isSettling = true;
    this.#diverged.settle(read.objectIndex).then(
      () => {
        read.isSettling = false;
        this.#tick();
        this.#askNext(read);
      },
      (error: unknown) => {
        if (read.isOver) return;
        this.#finish(read);
        read.reject(error);
      },
    );
  }

  #start(read: PendingRead): Promise<Uint8Array> {
    this.#context.stats.reads += 1;
    this.#pending.add(read);
    this.#tick();
    this.#askNext(read);
    return read.done;
  }

  /** The version that a live replica has of an object, as far as is known here. */
  expectedOn(replica: Replica, objectIndex: number): Version {
    const write = this.#writer.underWay(objectIndex);
    if (write !== undefined && (write.okMask & replica.bit) !== 0) return write.request.target;
    const own = this.#diverged.get(objectIndex)?.versions[replica.index];
    return own ?? this.#context.table.get(objectIndex);
  }

  /** Asks one more copy; with none left, the read fails, or waits for one to return. */
  #askNext(read: PendingRead): void {
    const { lease, set, volumeName } = this.#context;
    if (read.isOver) return;
    if (!lease.holds()) return;
    const replica = this.#choose(read);
    if (replica !== undefined) {
      this.#ask(read, replica, this.expectedOn(replica, read.objectIndex));
    } else if (read.askedMask === 0 && (set.liveMask !== 0 || read.isHealing)) {
      this.#finish(read);
      if (isDroverError(read.failure, 'corrupt') && read.blockCount > 1) {
        this.#readBlockwise(read).then(read.resolve, read.reject);
        return;
      }
      const failure = `volume ${volumeName} cannot be read`;
      read.reject(read.failure ?? new DroverError('unavailable', failure));
    }
  }

  /** Every copy has a bad block in the range; they may be different ones. */
  async #readBlockwise(read: PendingRead): Promise<Uint8Array> {
    const kinds = new Uint8Array(read.blockCount);
    read.blockVersions = [];
    for (let at = 0; at < read.blockCount; at++) {
      const one = this.#readOfBlock(read, at);
      const settled = this.#mustSettle(one) && !read.isHealing;
      kinds[at] = (await (settled ? this.#readSettled(one) : this.#start(one)))[0]!;
      read.blockVersions[at] = one.version;
    }
    read.repaired = repairBlocks(this.#context, read, kinds);
    return kinds;
  }

  #readOfBlock(read: PendingRead, at: number): PendingRead {
    const { lease, clock } = this.#context;
    if (!lease.holds()) throw lease.lost!;
    const place = [read.place(at)];
    const one = new PendingRead(this, read.objectIndex, read.startBlock + at, place, clock.nowMs());
    one.isHealing = read.isHealing;
    return one;
  }

  #choose(read: PendingRead): Replica | undefined {
    const { set } = this.#context;
    const mask = set.liveMask & ~read.askedMask & ~read.triedMask;
    if (mask === 0) return undefined;
    const first = read.firstChoice;
    read.firstChoice = undefined;
    if (first !== undefined && (mask & first.bit) !== 0) return first;
    this.#reads += 1;
    if (this.#reads % EXPLORE_EVERY === 0) {
      const next = set.replicas[(this.#reads / EXPLORE_EVERY) % set.replicas.length]!;
      if ((mask & next.bit) !== 0) return next;
    }
    const isAnother = (read.askedMask | read.triedMask) !== 0;
    return isAnother ? this.#fastest(mask) : this.#together(mask, read.blockCount);
  }

  #fastest(mask: number): Replica | undefined {
    let best: Replica | undefined;
    for (const replica of this.#context.set.replicas) {
      if ((mask & replica.bit) === 0) continue;
      if (best === undefined || replica.latency.score < best.latency.score) best = replica;
    }
    return best;
  }

  /**
   * Small reads of one turn go to one copy, in one message: what wakes a process costs more than
   * what it reads. Where reads take long, few end in one turn, and so each next one is alone in its.
   */
  #together(mask: number, blocks: number): Replica | undefined {
    const chosen = this.#chosen;
    if (
      chosen !== undefined &&
      (mask & chosen.bit) !== 0 &&
      this.#chosenBlocks + blocks <= TOGETHER_BLOCKS_MAX
    ) {
      this.#chosenBlocks += blocks;
      return chosen;
    }
    const best = this.#fastest(mask);
    if (chosen === undefined) this.#context.clock.endOfTurn(this.#onEndOfTurn);
    this.#chosen = best;
    this.#chosenBlocks = blocks;
    return best;
  }

  #ask(read: PendingRead, replica: Replica, expected: Version): void {
    const { clock, set } = this.#context;
    // Nobody else can answer, and what is abandoned does not touch the buffers any more.
    const isDirect =
      set.replicas.length === 1 || (set.isOnlyLive(replica) && !replica.link.mayUsePayloadLater);
    const scratch = isDirect ? undefined : this.#scratch.take(read.blockCount);
    const bytes = PendingRead.bytesOf(read.blockCount);
    const attempt: ReadAttempt = {
      replica,
      expected,
      startedMs: clock.nowMs(),
      scratch,
      into: scratch === undefined ? read.into : [scratch.subarray(0, bytes)],
      isForgotten: false,
    };
    read.begin(attempt);
    replica.latency.readsUnderWay += 1;
    const { objectIndex, startBlock, blockCount } = read;
    const request = { ...objectKey(this.#context, objectIndex), expected, startBlock, blockCount };
    replica.link.node.read(request, attempt.into).then(
      (result) => {
        this.#endAttempt(attempt);
        if (!read.isOver && !attempt.isForgotten) read.onAnswer(attempt, result);
        if (scratch !== undefined) this.#scratch.giveBack(scratch);
      },
      (error: unknown) => {
        this.#endAttempt(attempt);
        if (!read.isOver && !attempt.isForgotten) this.#onError(read, attempt, error);
        if (scratch !== undefined) this.#scratch.giveBack(scratch);
      },
    );
  }

  #endAttempt(attempt: ReadAttempt): void {
    const { latency } = attempt.replica;
    latency.readsUnderWay -= 1;
    latency.observe(this.#context.clock.nowMs() - attempt.startedMs);
  }

  #onError(read: PendingRead, attempt: ReadAttempt, error: unknown): void {
    const { log, volumeName } = this.#context;
    const { replica } = attempt;
    if (isDroverError(error, 'conflict')) {
      this.#onConflict(read, attempt, error);
      return;
    }
    if (isDroverError(error, 'corrupt')) {
      replica.crcFailures += 1;
      read.noteBad(attempt, 0, read.blockCount);
    }
    log.warn(
      {
        volume: volumeName,
        node: replica.nodeId,
        object: read.objectIndex,
        reason: describeError(error),
      },
      'a copy could not be read',
    );
    read.endWithFailure(attempt, error);
    this.#askNext(read);
  }

  /**
   * The copy has another version: a write was applied or acknowledged meanwhile, or it does not
   * have what it should.
   */
  #onConflict(read: PendingRead, attempt: ReadAttempt, error: unknown): void {
    const { stats, set } = this.#context;
    const { replica, expected } = attempt;
    const { objectIndex } = read;
    if (this.#diverged.get(objectIndex) !== undefined) {
      if (read.isHealing) {
        read.endWithFailure(attempt, error);
        this.#askNext(read);
      } else {
        read.end(attempt);
        this.#askSettled(read);
      }
      return;
    }
    const write = this.#writer.underWay(objectIndex);
    let now = this.expectedOn(replica, objectIndex);
    if (write !== undefined && compareVersions(now, expected) === 0) {
      // It has applied a write that is under way, and its answer to that is still to come.
      now = write.request.target;
    }
    const isMoved = compareVersions(now, expected) !== 0;
    if (isMoved && replica.isLive && read.nextRound()) {
      stats.repeatedReads += 1;
      read.end(attempt);
      this.#ask(read, replica, now);
      return;
    }
    read.endWithFailure(attempt, error);
    if (!isMoved && replica.isLive && set.replicas.length > 1) {
      set.drop(replica, `it does not have the version of object ${objectIndex}`, true);
    }
    this.#askNext(read);
  }

  /** A checked answer; the caller's buffers hold it. */
  onGood(read: PendingRead, kinds: Uint8Array): void {
    const { lease } = this.#context;
    if (!lease.holds()) return;
    this.#finish(read);
    if (read.bad.length > 0) read.repaired = repairBlocks(this.#context, read, kinds);
    read.resolve(kinds);
  }

  onBadBlocks(read: PendingRead, attempt: ReadAttempt, blocks: readonly number[]): void {
    const { log, volumeName } = this.#context;
    const { replica } = attempt;
    const { nodeId } = replica;
    replica.crcFailures += blocks.length;
    const block = read.startBlock + blocks[0]!;
    const where = { volume: volumeName, node: nodeId, object: read.objectIndex, block };
    log.error(where, 'a block does not match its checksum');
    const error = new DroverError(
      'corrupt',
      `volume ${volumeName}, object ${read.objectIndex}, block ${block} on node ${nodeId} does not match its checksum`,
    );
    read.endWithFailure(attempt, error);
    this.#askNext(read);
  }

  /** Looks at reads under way, as long as there are any, for copies that are slow. */
  #tick(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.#context.clock.setTimer(HEDGE_TICK_MS, () => {
      this.#isTicking = false;
      if (this.#pending.size === 0) return;
      const nowMs = this.#context.clock.nowMs();
      for (const read of [...this.#pending]) this.#hedge(read, nowMs);
      this.#tick();
    });
  }

  #hedge(read: PendingRead, nowMs: number): void {
    const attempt = read.newest;
    if (attempt === undefined || read.isHealing) return;
    const elapsedMs = nowMs - attempt.startedMs;
    if (attempt.into === read.into || elapsedMs < attempt.replica.latency.hedgeAfterMs) return;
    const next = this.#choose(read);
    if (next === undefined) return;
    attempt.replica.latency.observeLate(elapsedMs);
    this.#context.stats.hedgedReads += 1;
    this.#ask(read, next, this.expectedOn(next, read.objectIndex));
  }

  /** What was asked of the replica may never be answered; others are asked instead. */
  onDropped(replica: Replica): void {
    for (const read of [...this.#pending]) {
      if (!read.forget(replica)) continue;
      this.#askNext(read);
    }
  }

  /** Reads that had no copy to go to may have one now. */
  onBetter(): void {
    for (const read of [...this.#pending]) {
      if (read.askedMask !== 0 || read.isSettling) continue;
      read.triedMask = 0;
      this.#askNext(read);
    }
  }

  /** Fails reads that have waited for a copy for too long. */
  failStalled(startedBeforeMs: number): void {
    for (const read of [...this.#pending]) {
      if (read.startedMs > startedBeforeMs || read.askedMask !== 0) continue;
      this.#finish(read);
      const { volumeName } = this.#context;
      read.reject(new DroverError('unavailable', `volume ${volumeName} has no copy to read`));
    }
  }

  onLost(error: DroverError): void {
    for (const read of [...this.#pending]) {
      this.#finish(read);
      read.reject(error);
    }
  }

  #finish(read: PendingRead): void {
    read.isOver = true;
    this.#pending.delete(read);
  }
}
