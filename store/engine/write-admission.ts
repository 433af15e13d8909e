/**
 * Whether a change is allowed, and the record that it becomes.
 *
 * Owns: the rules of epochs and versions, against what is durable and what is on its way; room;
 * checksums of payload where the engine was asked to check them. Does not own: the order and fate
 * of records (group-commit.ts), their effect (apply-record.ts).
 * Invariants: what is refused here changes nothing; a record's base is the newest version of its
 * object, durable or queued before it, so that when its turn comes the base is what it says.
 */
import { DroverError } from '../runtime/drover-error.ts';
import { Append } from './append.ts';
import type { EngineState } from './apply-record.ts';
import { headerBlocksOf } from './batch-encoder.ts';
import { firstBadBlock } from './block-crc.ts';
import {
  checkExtents,
  checkKey,
  checkLease,
  checkRange,
  checkVersion,
  extentsOf,
} from './check-request.ts';
import type { EngineStats } from './engine-stats.ts';
import type { GroupCommit } from './group-commit.ts';
import { BATCH_HEADER_BYTES } from './layouts.ts';
import type { EngineLimits } from './limits.ts';
import { RecordType } from './log-record.ts';
import type { ObjectEntry } from './object-entry.ts';
import type { InstallRequest, LeaseScope, RepairRequest } from './replica-node.ts';
import { usableBlocks } from './segment-pool.ts';
import type { SpaceBudget } from './space-budget.ts';
import {
  BlockKind,
  compareVersions,
  type ObjectKey,
  type Version,
  type WriteRequest,
} from './store-node.ts';

export interface WriteAdmissionOptions {
  readonly state: EngineState;
  readonly log: GroupCommit;
  readonly budget: SpaceBudget;
  readonly limits: EngineLimits;
  readonly stats: EngineStats;
  readonly verifyPayload: boolean;
}

export class WriteAdmission {
  readonly #options: WriteAdmissionOptions;

  constructor(options: WriteAdmissionOptions) {
    this.#options = options;
  }

  /** Hot path. */
  write(request: WriteRequest): Promise<void> {
    const { extents, blockCrcs, payload, base, target } = request;
    checkKey(request);
    checkVersion(base);
    checkVersion(target);
    checkExtents(extents, blockCrcs, payload);
    if (extents.length === 0) throw new DroverError('invalid', 'a write without extents');
    if (compareVersions(target, base) <= 0) {
      throw new DroverError('invalid', 'a write whose target is not above its base');
    }
    const entry = this.#enter(request);
    const repeated = this.#findRepeated(entry, target);
    if (repeated !== undefined) return repeated;
    if (entry.newestEpoch !== base.epoch || entry.newestSeq !== base.seq) {
      throw this.#conflict(entry, base);
    }
    const record = new Append(RecordType.write, entry);
    record.extents = extents;
    record.blockCrcs = blockCrcs;
    record.payload = payload;
    setVersions(record, base, target);
    return this.#queueChange(record, request);
  }

  install(request: InstallRequest, over?: Version): Promise<void> {
    const { extents, dataCrcs } = extentsOf(request.kinds, request.blockCrcs);
    checkKey(request);
    checkVersion(request.version);
    checkExtents(extents, dataCrcs, request.payload);
    if (request.version.epoch === 0 && request.version.seq === 0) {
      throw new DroverError('invalid', 'an object without a version cannot be installed');
    }
    const entry = this.#enter(request);
    if (over !== undefined && (entry.newestEpoch !== over.epoch || entry.newestSeq !== over.seq)) {
      throw this.#conflict(entry, over);
    }
    const record = new Append(RecordType.install, entry);
    record.extents = extents;
    record.blockCrcs = dataCrcs;
    record.payload = request.payload;
    setVersions(record, { epoch: entry.newestEpoch, seq: entry.newestSeq }, request.version);
    return this.#queueChange(record, request);
  }

  repair(request: RepairRequest): Promise<void> {
    const { version, startBlock, blockCrcs, payload } = request;
    checkKey(request);
    checkVersion(version);
    checkRange(startBlock, blockCrcs.length);
    const extents = [{ startBlock, blockCount: blockCrcs.length, kind: BlockKind.data }];
    checkExtents(extents, blockCrcs, payload);
    const entry = this.#enter(request);
    if (entry.newestEpoch !== version.epoch || entry.newestSeq !== version.seq) {
      throw this.#conflict(entry, version);
    }
    const record = new Append(RecordType.repair, entry);
    record.extents = extents;
    record.blockCrcs = blockCrcs;
    record.payload = payload;
    setVersions(record, version, version);
    return this.#queueChange(record, request);
  }

  removeObject(request: ObjectKey & LeaseScope): Promise<void> {
    checkKey(request);
    const entry = this.#enter(request);
    if (!entry.exists && entry.lastPending === undefined) return Promise.resolve();
    const record = new Append(RecordType.removeObject, entry);
    setVersions(record, { epoch: entry.newestEpoch, seq: entry.newestSeq }, { epoch: 0, seq: 0 });
    return this.#queueChange(record, request);
  }

  adoptEpoch(volumeId: number, epoch: number): Promise<void> {
    const { epochs } = this.#options.state;
    checkLease(volumeId, epoch);
    this.#checkEpoch(volumeId, epoch);
    if (epochs.durable(volumeId) === epoch) return Promise.resolve();
    this.#checkQueue();
    const record = new Append(RecordType.adoptEpoch, undefined);
    record.volumeId = volumeId;
    record.epoch = epoch;
    epochs.tell(volumeId, epoch);
    return this.#queue(record);
  }

  removeLayer(layerId: number): Promise<void> {
    checkKey({ layerId, objectIndex: 0 });
    if (this.#options.state.index.removedLayers.has(layerId)) return Promise.resolve();
    this.#checkQueue();
    const record = new Append(RecordType.removeLayer, undefined);
    record.layerId = layerId;
    return this.#queue(record);
  }

  /** Checks lease and layer, and pins the object. */
  #enter(request: ObjectKey & LeaseScope): ObjectEntry {
    const { index } = this.#options.state;
    checkLease(request.volumeId, request.epoch);
    this.#checkEpoch(request.volumeId, request.epoch);
    if (index.removedLayers.has(request.layerId)) {
      throw new DroverError('conflict', `layer ${request.layerId} was removed`);
    }
    return index.pin(request.layerId, request.objectIndex);
  }

  #checkEpoch(volumeId: number, epoch: number): void {
    const { epochs } = this.#options.state;
    if (!epochs.isFenced(volumeId, epoch)) return;
    this.#options.stats.refusedFenced += 1;
    throw epochs.fencedError(volumeId, epoch);
  }

  /** A write that is there already, or on its way, is not made twice. */
  #findRepeated(entry: ObjectEntry, target: Version): Promise<void> | undefined {
    const { lastPending } = entry;
    if (lastPending === undefined) {
      const isThere = entry.epoch === target.epoch && entry.seq === target.seq;
      return isThere ? Promise.resolve() : undefined;
    }
    for (
      let pending: Append | undefined = lastPending as Append;
      pending !== undefined && !pending.isSettled;
      pending = pending.previousPending
    ) {
      if (pending.targetEpoch === target.epoch && pending.targetSeq === target.seq) {
        return pending.settled();
      }
    }
    return undefined;
  }

  /** Hot path. */
  #queueChange(record: Append, lease: LeaseScope): Promise<void> {
    const { budget, limits, stats, state, verifyPayload } = this.#options;
    const { dataBlocks, entry } = record;
    this.#checkQueue();
    if (verifyPayload && firstBadBlock(record.payload, record.blockCrcs) >= 0) {
      throw new DroverError('corrupt', 'payload does not match its checksums');
    }
    if (dataBlocks > 0) {
      const headerBlocks = headerBlocksOf(BATCH_HEADER_BYTES + record.headerBytes);
      if (headerBlocks + dataBlocks > usableBlocks(limits)) {
        throw new DroverError('invalid', `a write of ${dataBlocks} blocks is more than a segment`);
      }
      if (!budget.hasRoomFor(dataBlocks)) {
        stats.refusedOutOfSpace += 1;
        throw new DroverError('outOfSpace', 'the node is full');
      }
    }
    record.volumeId = lease.volumeId;
    record.epoch = lease.epoch;
    state.epochs.tell(lease.volumeId, lease.epoch);
    const pending = entry?.lastPending as Append | undefined;
    record.takesSpace = dataBlocks > 0 || pending?.takesSpace === true;
    record.joinChain();
    return this.#queue(record);
  }

  #queue(record: Append): Promise<void> {
    const settled = record.settled();
    this.#options.log.enqueue(record);
    return settled;
  }

  #checkQueue(): void {
    if (this.#options.log.queuedRecords >= this.#options.limits.queuedRecordsMax) {
      throw new DroverError('busy', 'too many changes are waiting for the disk');
    }
  }

  #conflict(entry: ObjectEntry, expected: Version): DroverError {
    this.#options.stats.refusedConflict += 1;
    return new DroverError(
      'conflict',
      `object ${entry.objectIndex} of layer ${entry.layerId} is at version ` +
        `${entry.newestEpoch}.${entry.newestSeq}, not ${expected.epoch}.${expected.seq}`,
    );
  }
}

/** Hot path. */
function setVersions(record: Append, base: Version, target: Version): void {
  record.baseEpoch = base.epoch;
  record.baseSeq = base.seq;
  record.targetEpoch = target.epoch;
  record.targetSeq = target.seq;
}
