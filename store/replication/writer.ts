/**
 * Writes of an attached volume: every live replica at once, one acknowledgement when all have it.
 *
 * Owns: base and target versions, the writes under way, when a write is acknowledged, what becomes
 * of one that some replicas refuse. Does not own: who is live (the replica set), what is copied.
 *
 * Invariants:
 * - A target is never used for two contents, not even when the first write failed: a replica that
 *   was away may hold it. So a failed write's number is burned.
 * - A write is applied when every live replica has it, and acknowledged when it is applied and
 *   `areAcksAllowed`. In between it is held; it is still in `#underWay`.
 * - Every replica that a write is not sent to has it noted: in `behind` while it is being listed or
 *   copied to, and in its delta log. A write over copies with different versions covers what they
 *   differ in, so noting it over the acknowledged version leaves nothing out.
 * - A write waits for everybody it was sent to, also for a replica that is only being brought up to
 *   date: its payload may be changed after the acknowledgement.
 */
import { strict as assert } from 'node:assert';
import type { Extent, Version, WriteRequest } from '../engine/store-node.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import { blockChecksums } from './block-checksums.ts';
import { addExtents, emptyBlockSet, isCovered } from './block-set.ts';
import type { DivergedObjects } from './diverged-objects.ts';
import { InFlightWrite } from './in-flight-write.ts';
import { countReplicas, type Replica } from './replica.ts';
import type { VolumeContext } from './volume-context.ts';

export class Writer {
  readonly #context: VolumeContext;
  readonly #diverged: DivergedObjects;
  readonly #underWay = new Map<number, InFlightWrite>();
  readonly #spare: InFlightWrite[] = [];
  /** The highest number used for an object by a write that failed. */
  readonly #burnedSeqs = new Map<number, number>();
  readonly #everybody: number;

  constructor(context: VolumeContext, diverged: DivergedObjects) {
    this.#context = context;
    this.#diverged = diverged;
    this.#everybody = 2 ** context.set.replicas.length - 1;
  }

  /** The write of an object that is not acknowledged yet. */
  underWay(objectIndex: number): InFlightWrite | undefined {
    return this.#underWay.get(objectIndex);
  }

  /** Hot path. As `ObjectStore.write`. */
  write(
    objectIndex: number,
    extents: readonly Extent[],
    payload: readonly Buffer[],
  ): Promise<void> {
    const { lease, gates } = this.#context;
    if (!lease.holds()) return Promise.reject(lease.lost);
    if (gates.areAnyHeld || this.#diverged.count > 0) {
      return this.#writeBehindGate(objectIndex, extents, payload);
    }
    return this.#start(objectIndex, extents, payload);
  }

  async #writeBehindGate(
    objectIndex: number,
    extents: readonly Extent[],
    payload: readonly Buffer[],
  ): Promise<void> {
    const { lease, gates, blocksPerObject } = this.#context;
    const openGate = await gates.hold(objectIndex);
    let written: Promise<void>;
    try {
      const changedBlocks = this.#diverged.get(objectIndex)?.changedBlocks;
      const coversDifferences =
        changedBlocks !== undefined &&
        this.#diverged.areVersionsKnown(objectIndex) &&
        isCovered(changedBlocks, extents, blocksPerObject);
      if (!coversDifferences) await this.#diverged.equalize(objectIndex);
      if (!lease.holds()) throw lease.lost!;
      written = this.#start(objectIndex, extents, payload);
    } finally {
      openGate();
    }
    return written;
  }

  /** Hot path. */
  #start(objectIndex: number, extents: readonly Extent[], payload: readonly Buffer[]) {
    const { lease, table, volumeId, layerId, clock, stats, set } = this.#context;
    assert(!this.#underWay.has(objectIndex), 'one write of an object at a time');
    const base =
      this.#diverged.count === 0
        ? table.get(objectIndex)
        : (this.#diverged.commonVersion(objectIndex) ?? table.get(objectIndex));
    let seq = base.seq;
    if (this.#burnedSeqs.size > 0) {
      seq = Math.max(seq, this.#burnedSeqs.get(objectIndex) ?? 0);
    }
    const request: WriteRequest = {
      volumeId,
      layerId,
      objectIndex,
      epoch: lease.epoch,
      base,
      target: { epoch: lease.epoch, seq: seq + 1 },
      extents,
      blockCrcs: blockChecksums(payload),
      payload,
    };
    const write = this.#spare.pop() ?? new InFlightWrite(this, set.replicas.length);
    write.reset(objectIndex, request, clock.nowMs());
    const done = new Promise<void>(write.executor);
    this.#underWay.set(objectIndex, write);
    stats.writes += 1;
    const { replicas } = set;
    // Not `sendMask`: a replica that is being copied to is sent only what it is current on.
    const mask = set.liveMask === this.#everybody ? set.liveMask : this.#noteAbsent(write);
    write.waitMask = mask;
    if (this.#diverged.count > 0 && this.#hasSeveralBases(objectIndex)) {
      this.#sendOverOwnVersions(write);
      return done;
    }
    for (let index = 0; index < replicas.length; index++) {
      if ((mask & (1 << index)) === 0) continue;
      replicas[index]!.link.node.write(request).then(write.onOk[index]!, write.onError[index]!);
    }
    return done;
  }

  #hasSeveralBases(objectIndex: number): boolean {
    return (
      this.#diverged.get(objectIndex) !== undefined &&
      this.#diverged.commonVersion(objectIndex) === undefined
    );
  }

  /** The replicas that get the write; for the others it is noted. */
  #noteAbsent(write: InFlightWrite): number {
    const { set } = this.#context;
    let mask = set.sendMask;
    for (const replica of set.replicas) {
      if (replica.isLive) continue;
      if (replica.state === 'copying' && !replica.behind.has(write.objectIndex)) continue;
      mask &= ~replica.bit;
      if (replica.state === 'listing') replica.behind.add(write.objectIndex);
      replica.delta.addWrite(write.request, false);
    }
    return mask;
  }

  /** The copies have different versions; the new target is above all of them. */
  #sendOverOwnVersions(write: InFlightWrite): void {
    const versions = this.#diverged.get(write.objectIndex)!.versions;
    write.isPlain = false;
    for (const replica of this.#context.set.replicas) {
      if ((write.waitMask & replica.bit) === 0) continue;
      this.#send(write, replica, versions[replica.index] ?? write.request.base);
    }
  }

  #send(write: InFlightWrite, replica: Replica, base: Version): void {
    const request = base === write.request.base ? write.request : { ...write.request, base };
    replica.link.node
      .write(request)
      .then(write.onOk[replica.index]!, write.onError[replica.index]!);
  }

  /**
   * Sends a write that is not acknowledged to a replica that has its base or its target, and
   * waits for it too.
   */
  sendAlso(write: InFlightWrite, replica: Replica): void {
    write.isPlain = false;
    write.isApplied = false;
    write.sentMs = this.#context.clock.nowMs();
    write.waitMask |= replica.bit;
    write.refusedMask &= ~replica.bit;
    this.#send(write, replica, write.request.base);
  }

  /** A copy of the object at the write's target reached the replica. */
  noteCopied(write: InFlightWrite, replica: Replica): void {
    write.isPlain = false;
    write.okMask |= replica.bit;
  }

  /** The objects of the writes that are not acknowledged. */
  objectsUnderWay(): Iterable<number> {
    return this.#underWay.keys();
  }

  /**
   * Resolves when the object's write, if there is one, is applied on the live replicas or over, or
   * when there is no live replica to wait for.
   */
  async quiet(objectIndex: number): Promise<void> {
    for (;;) {
      const write = this.#underWay.get(objectIndex);
      if (write === undefined || write.isApplied || this.#context.set.liveMask === 0) return;
      await new Promise<void>((resolve) => {
        write.onQuiet ??= [];
        write.onQuiet.push(resolve);
      });
    }
  }

  /** Hot path. */
  onWriteOk(write: InFlightWrite, replicaIndex: number): void {
    const bit = 1 << replicaIndex;
    if ((write.waitMask & bit) === 0) return;
    write.waitMask &= ~bit;
    write.okMask |= bit;
    if (write.waitMask === 0) this.#evaluate(write);
  }

  onWriteError(write: InFlightWrite, replicaIndex: number, error: unknown): void {
    const { lease, set, stats } = this.#context;
    const replica = set.replicas[replicaIndex]!;
    if ((write.waitMask & replica.bit) === 0) return;
    write.isPlain = false;
    if (isDroverError(error, 'fenced')) {
      stats.refusedEpochs += 1;
      lease.lose(`node ${replica.nodeId} was told a higher epoch`);
      return;
    }
    const isBad = isDroverError(error, 'conflict') && set.replicas.length > 1;
    const isRefusal = isDroverError(error) && error.kind !== 'unavailable' && !isBad;
    if (!replica.isLive || isBad || (!isRefusal && !set.isOnlyLive(replica))) {
      const what = isBad ? 'it does not have what was acknowledged' : 'it fails writes';
      set.drop(replica, `${what}: ${describeError(error)}`, isBad);
      return;
    }
    write.waitMask &= ~replica.bit;
    write.refusedMask |= replica.bit;
    if (!isRefusal || isDroverError(error, 'conflict')) write.unknownMask |= replica.bit;
    write.refusal = error;
    if (write.waitMask === 0) this.#evaluate(write);
  }

  /** Nobody is waited for any more: the write is applied, refused, or without a copy to go to. */
  #evaluate(write: InFlightWrite): void {
    const { set } = this.#context;
    if (this.#underWay.get(write.objectIndex) !== write) return;
    const live = set.liveMask;
    const refused = write.refusedMask & live;
    if (refused !== 0) {
      this.#evaluateRefused(write, refused);
      return;
    }
    if (live === 0 || (live & ~write.okMask) !== 0) return;
    write.isApplied = true;
    if (this.#diverged.count > 0) {
      this.#diverged.noteApplied(write.objectIndex, write.request.target);
    }
    if (set.areAcksAllowed) this.#acknowledge(write);
    else write.tellQuiet();
  }

  /** Takes out those that refused, if enough others have the write; or else it fails. */
  #evaluateRefused(write: InFlightWrite, refused: number): void {
    const { set } = this.#context;
    const applied = countReplicas(write.okMask & set.liveMask);
    if (applied < set.minInSync) {
      this.#fail(write, write.refusal);
      return;
    }
    for (const replica of set.replicas) {
      if ((refused & replica.bit) === 0 || !replica.isLive) continue;
      set.drop(replica, `it refuses writes that others take: ${describeError(write.refusal)}`);
    }
  }

  #acknowledge(write: InFlightWrite): void {
    const { lease, table } = this.#context;
    if (!lease.holds()) return;
    const { objectIndex } = write;
    table.set(objectIndex, write.request.target);
    this.#underWay.delete(objectIndex);
    if (this.#burnedSeqs.size > 0) this.#burnedSeqs.delete(objectIndex);
    if (this.#diverged.count > 0) this.#diverged.delete(objectIndex);
    write.tellQuiet();
    write.resolve();
    if (write.isPlain) this.#recycle(write);
  }

  #recycle(write: InFlightWrite): void {
    // Not to keep the payload and the caller alive.
    write.request = NO_REQUEST;
    write.resolve = NOTHING;
    write.reject = NOTHING;
    this.#spare.push(write);
  }

  /** The client is told; each copy keeps what it has, and that is remembered. */
  #fail(write: InFlightWrite, error: unknown): void {
    const { set, blocksPerObject, stats, log, volumeName } = this.#context;
    const { objectIndex, request } = write;
    write.isPlain = false;
    this.#underWay.delete(objectIndex);
    this.#burnedSeqs.set(objectIndex, request.target.seq);
    const before = this.#diverged.get(objectIndex);
    if ((write.okMask | write.unknownMask) !== 0 || before !== undefined) {
      const changedBlocks =
        before === undefined ? emptyBlockSet(blocksPerObject) : before.changedBlocks;
      if (changedBlocks !== undefined) addExtents(changedBlocks, request.extents);
      const own = request.base;
      const versions = set.replicas.map((replica) => {
        if ((write.okMask & replica.bit) !== 0) return request.target;
        if ((write.refusedMask & ~write.unknownMask & replica.bit) === 0) return undefined;
        return before === undefined ? own : before.versions[replica.index];
      });
      this.#diverged.set(objectIndex, { versions, changedBlocks });
    }
    stats.failedWrites += 1;
    const reason = describeError(error);
    log.warn({ volume: volumeName, object: objectIndex, reason }, 'a write failed');
    write.tellQuiet();
    write.reject(error);
  }

  /** What the replica was sent and has not answered does not count; it will be told again. */
  onDropped(replica: Replica): void {
    this.#diverged.forget(replica);
    for (const write of [...this.#underWay.values()]) {
      write.isPlain = false;
      if ((write.okMask & replica.bit) === 0) replica.delta.addWrite(write.request, true);
      if ((write.waitMask & replica.bit) !== 0) {
        write.waitMask &= ~replica.bit;
        if (replica.link.mayUsePayloadLater) replica.suspects.add(write.objectIndex);
      }
      write.okMask &= ~replica.bit;
      if (write.waitMask === 0) this.#evaluate(write);
      if (this.#context.set.liveMask === 0) write.tellQuiet();
    }
  }

  /** Acknowledges what was held. */
  onBetter(): void {
    if (!this.#context.set.areAcksAllowed) return;
    for (const write of [...this.#underWay.values()]) {
      if (write.waitMask === 0) this.#evaluate(write);
    }
  }

  onLost(error: DroverError): void {
    for (const write of [...this.#underWay.values()]) {
      this.#underWay.delete(write.objectIndex);
      write.isPlain = false;
      write.tellQuiet();
      write.reject(error);
    }
  }

  /** Since when the replica owes the answer to a write; `undefined` if it owes none. */
  owedSinceMs(replica: Replica): number | undefined {
    let sinceMs: number | undefined;
    for (const write of this.#underWay.values()) {
      if ((write.waitMask & replica.bit) === 0) continue;
      if (sinceMs === undefined || write.sentMs < sinceMs) sinceMs = write.sentMs;
    }
    return sinceMs;
  }

  /** Fails writes that have waited for copies for too long. */
  failStalled(startedBeforeMs: number): void {
    for (const write of [...this.#underWay.values()]) {
      if (write.startedMs > startedBeforeMs) return;
      if (write.waitMask === 0) this.giveUp(write.objectIndex);
    }
  }

  /** Fails the write of an object that waits for copies to go to, if there is one. */
  giveUp(objectIndex: number): void {
    const write = this.#underWay.get(objectIndex);
    if (write === undefined) return;
    const { set, volumeName } = this.#context;
    const has = `volume ${volumeName} has ${set.liveCount} copies in sync`;
    this.#fail(write, new DroverError('unavailable', `${has}, and a write needs ${set.minInSync}`));
  }
}

const NOTHING = () => undefined;

const NO_REQUEST: WriteRequest = {
  volumeId: 0,
  layerId: 0,
  objectIndex: 0,
  epoch: 0,
  base: { epoch: 0, seq: 0 },
  target: { epoch: 0, seq: 0 },
  extents: [],
  blockCrcs: new Uint32Array(0),
  payload: [],
};
