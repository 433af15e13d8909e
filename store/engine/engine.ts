/**
 * One node's data: what a writer, a reader and replication ask of it.
 *
 * Owns: which requests are served in which state of the node's life, and closing. Does not own: how
 * any of it is done; each part has its file, and open-engine.ts puts them together.
 */
import type { Disk, DiskLock } from '../runtime/disk.ts';
import { DroverError, describeError } from '../runtime/drover-error.ts';
import type { EngineState } from './apply-record.ts';
import { checkInto, checkKey, checkLimit, checkRange, checkVersion } from './check-request.ts';
import type { Checkpointer } from './checkpoint.ts';
import type { Cleaner } from './cleaner.ts';
import type { EngineLog } from './engine-log.ts';
import { EngineLife, type EngineStateName } from './engine-states.ts';
import type { EngineGauges, EngineStats } from './engine-stats.ts';
import type { GroupCommit } from './group-commit.ts';
import type { DirectoryState } from './identity.ts';
import type { IndexStore } from './index-store.ts';
import type { Maintenance } from './maintenance.ts';
import { type ObjectReader, planRead } from './object-reader.ts';
import type { Damage } from './replay.ts';
import type {
  InstallRequest,
  LeaseScope,
  NodeSpace,
  ObjectDescription,
  RepairRequest,
  ReplicaNode,
} from './replica-node.ts';
import type { Scrubber, ScrubResult } from './scrub.ts';
import type { SegmentPool } from './segment-pool.ts';
import type { SegmentReaders } from './segment-readers.ts';
import type { SpaceBudget } from './space-budget.ts';
import type {
  ObjectKey,
  ReadRequest,
  ReadResult,
  Version,
  VersionPage,
  WriteRequest,
} from './store-node.ts';
import { listVersions } from './version-listing.ts';
import type { WriteAdmission } from './write-admission.ts';

export interface EngineParts {
  readonly nodeId: string;
  readonly directoryId: string;
  readonly openId: string;
  readonly disk: Disk;
  readonly lock: DiskLock;
  readonly state: EngineState;
  readonly store: IndexStore;
  readonly pool: SegmentPool;
  readonly readers: SegmentReaders;
  readonly budget: SpaceBudget;
  readonly log: GroupCommit;
  readonly admission: WriteAdmission;
  readonly reader: ObjectReader;
  readonly checkpointer: Checkpointer;
  readonly cleaner: Cleaner;
  readonly scrubber: Scrubber;
  readonly maintenance: Maintenance;
  readonly stats: EngineStats;
  readonly engineLog: EngineLog;
  readonly damage: readonly Damage[];
}

/** All that replication asks of a node but fetching from another node, which needs a network. */
export type LocalReplica = Omit<ReplicaNode, 'copyObject'>;

export class Engine implements LocalReplica {
  readonly nodeId: string;
  /** Another one when the node's directory was made anew. */
  readonly directoryId: string;
  /** Another one each time the directory is opened. */
  readonly openId: string;
  readonly stats: EngineStats;
  /** What replay found and was told to live with. */
  readonly damage: readonly Damage[];
  readonly #parts: EngineParts;
  readonly #life = new EngineLife();
  #failure: DroverError | undefined;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.nodeId = parts.nodeId;
    this.directoryId = parts.directoryId;
    this.openId = parts.openId;
    this.stats = parts.stats;
    this.damage = parts.damage;
  }

  get directoryState(): DirectoryState {
    return { directoryId: this.directoryId, batchSeq: this.#parts.log.place.batchSeq };
  }

  get state(): EngineStateName {
    return this.#life.state;
  }

  /** Whether it takes writes. */
  get isUp(): boolean {
    return this.#life.state === 'open';
  }

  /** Why it takes no writes any more, if the disk failed. */
  get failure(): DroverError | undefined {
    return this.#failure;
  }

  /** Starts to serve, and the work in the background. */
  start(): void {
    this.#life.moveTo('open');
    this.#parts.pool.prepare(true);
    this.#parts.maintenance.start();
  }

  /** The disk failed: nothing more is written. */
  fail(error: DroverError): void {
    if (this.#life.state !== 'open') return;
    this.#life.moveTo('failed');
    this.#failure = error;
    this.#parts.engineLog.error(`no more writes: ${error.message}`);
    this.#parts.log.stop(error);
  }

  /** Hot path. */
  write(request: WriteRequest): Promise<void> {
    if (this.#life.state !== 'open') return Promise.reject(this.#unavailable());
    try {
      return this.#parts.admission.write(request);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** With `over`, refused as `conflict` if the object has another version than that by now. */
  install(request: InstallRequest, over?: Version): Promise<void> {
    return this.#change(() => this.#parts.admission.install(request, over));
  }

  repair(request: RepairRequest): Promise<void> {
    return this.#change(() => this.#parts.admission.repair(request));
  }

  removeObject(request: ObjectKey & LeaseScope): Promise<void> {
    return this.#change(() => this.#parts.admission.removeObject(request));
  }

  adoptEpoch(volumeId: number, epoch: number): Promise<void> {
    return this.#change(() => this.#parts.admission.adoptEpoch(volumeId, epoch));
  }

  removeLayer(layerId: number): Promise<void> {
    return this.#change(() => this.#parts.admission.removeLayer(layerId));
  }

  /** Hot path. */
  async read(request: ReadRequest, into: readonly Buffer[]): Promise<ReadResult> {
    this.#checkReadable();
    checkKey(request);
    checkVersion(request.expected);
    checkRange(request.startBlock, request.blockCount);
    checkInto(into, request.blockCount);
    const { index } = this.#parts.state;
    const entry = index.find(request.layerId, request.objectIndex);
    const epoch = entry?.epoch ?? 0;
    const seq = entry?.seq ?? 0;
    if (epoch !== request.expected.epoch || seq !== request.expected.seq) {
      this.stats.refusedConflict += 1;
      throw new DroverError(
        'conflict',
        `object ${request.objectIndex} of layer ${request.layerId} is at version ${epoch}.${seq}, ` +
          `not ${request.expected.epoch}.${request.expected.seq}`,
      );
    }
    const plan = planRead(entry, request.startBlock, request.blockCount);
    if (plan.runs.length > 0) await this.#parts.reader.read(plan, into);
    return plan;
  }

  async map(key: ObjectKey, blockCount: number): Promise<Uint8Array> {
    return (await this.describeObject(key, blockCount)).kinds;
  }

  async describeObject(key: ObjectKey, blockCount: number): Promise<ObjectDescription> {
    this.#checkReadable();
    checkKey(key);
    checkRange(0, blockCount);
    const entry = this.#parts.state.index.find(key.layerId, key.objectIndex);
    const { kinds, blockCrcs } = planRead(entry, 0, blockCount);
    const version = { epoch: entry?.epoch ?? 0, seq: entry?.seq ?? 0 };
    return { version, kinds, blockCrcs };
  }

  async listVersions(
    layerId: number,
    fromObjectIndex: number,
    limit: number,
  ): Promise<VersionPage> {
    this.#checkReadable();
    checkKey({ layerId, objectIndex: fromObjectIndex });
    checkLimit(limit);
    const { state, store } = this.#parts;
    return listVersions(state.index, store, layerId, fromObjectIndex, limit);
  }

  async listLayers(): Promise<number[]> {
    this.#checkReadable();
    return [...this.#parts.state.index.objectCounts.keys()].sort((a, b) => a - b);
  }

  async space(): Promise<NodeSpace> {
    const { budget, state } = this.#parts;
    return {
      capacityBytes: budget.capacityBytes,
      liveBytes: budget.liveBytes,
      freeBytes: budget.freeBytes,
      objectCount: state.index.totalObjects,
    };
  }

  /** Makes a checkpoint now; resolves when replay would start at least here. */
  async checkpoint(): Promise<void> {
    this.#checkReadable();
    await this.#parts.checkpointer.run();
  }

  /** Frees and cleans what there is reason to; resolves when that is done. */
  async clean(): Promise<void> {
    this.#checkReadable();
    await this.#parts.maintenance.clean();
  }

  /** Moves the live blocks of the segment that has fewest; false if none is worth it. */
  async cleanOne(): Promise<boolean> {
    this.#checkReadable();
    return this.#parts.cleaner.cleanOne(false);
  }

  /** Reads all that is stored and compares it with its checksums, as fast as the disk can. */
  async scrubOnce(): Promise<ScrubResult> {
    this.#checkReadable();
    return this.#parts.scrubber.pass(0);
  }

  gauges(): EngineGauges {
    const { budget, state, pool, log, checkpointer, maintenance, cleaner } = this.#parts;
    const { index } = state;
    return {
      segmentsUsed: pool.usedSegments,
      segmentsSpare: pool.spareSegments,
      liveBytes: budget.liveBytes,
      deadBytes: budget.deadBytes,
      capacityBytes: budget.capacityBytes,
      freeBytes: budget.freeBytes,
      objectCount: index.totalObjects,
      queuedRecords: log.queuedRecords,
      checkpointAgeSeconds: checkpointer.ageMs / 1000,
      logBytesSinceCheckpoint: maintenance.logBytesSinceCheckpoint,
      indexPinnedBytes: index.pinnedBytes,
      indexCachedBytes: index.cachedBytes,
      indexHits: index.cacheStats.hits,
      indexMisses: index.cacheStats.misses,
      damagedSegments: cleaner.damagedSegments.size,
    };
  }

  /**
   * Lets queued changes finish, makes a checkpoint, and gives the directory back. Writes that wait
   * for room are rejected as `unavailable`.
   */
  async close(): Promise<void> {
    if (this.#life.state === 'closed' || this.#life.state === 'closing') return;
    const { maintenance, log, checkpointer, readers, pool, store, lock, engineLog } = this.#parts;
    const hadFailed = this.#life.state === 'failed';
    this.#life.moveTo('closing');
    await maintenance.stop();
    if (!hadFailed) {
      await log.drained();
      try {
        await checkpointer.run();
      } catch (error) {
        // Everything acknowledged is in the log; the next open replays it.
        engineLog.warn(`no checkpoint when closing: ${describeError(error)}`);
      }
    }
    await readers.close();
    await log.close();
    await pool.close();
    await store.close();
    await lock.release();
    this.#life.moveTo('closed');
  }

  #change(admit: () => Promise<void>): Promise<void> {
    if (this.#life.state !== 'open') return Promise.reject(this.#unavailable());
    try {
      return admit();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #checkReadable(): void {
    const { state } = this.#life;
    if (state !== 'open' && state !== 'failed') throw this.#unavailable();
  }

  #unavailable(): DroverError {
    return this.#failure ?? new DroverError('unavailable', `the node is ${this.#life.state}`);
  }
}
