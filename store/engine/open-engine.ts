/**
 * Opens a node's data directory, or makes it.
 *
 * Owns: the order of opening, and putting the parts of an engine together. Does not own: what any
 * part does. Nothing is served before replay is over and what it trusted is durable.
 */
import { join } from 'node:path';
import { BLOCK_BYTES } from '../geometry.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Disk } from '../runtime/disk.ts';
import { DroverError, isDroverError } from '../runtime/drover-error.ts';
import type { Random } from '../runtime/random.ts';
import type { EngineState } from './apply-record.ts';
import { Checkpointer } from './checkpoint.ts';
import { type BadBlock, Cleaner } from './cleaner.ts';
import { Engine } from './engine.ts';
import { type EngineLog, SILENT_LOG } from './engine-log.ts';
import { EngineStats } from './engine-stats.ts';
import { GroupCommit } from './group-commit.ts';
import { type DirectoryState, type Identity, readIdentity, writeIdentity } from './identity.ts';
import { encodeCheckpoint } from './index-codec.ts';
import { type IndexStore, indexKey, type OpenIndexStore } from './index-store.ts';
import { ENGINE_LIMITS, type EngineLimits } from './limits.ts';
import { openLmdbIndexStore } from './lmdb-index-store.ts';
import { Maintenance } from './maintenance.ts';
import { findMissingSegments } from './missing-segments.ts';
import { ObjectIndex } from './object-index.ts';
import { ObjectReader } from './object-reader.ts';
import { Pacer } from './pacer.ts';
import { type Damage, type ReplayResult, replayLog, SEGMENT_NONE } from './replay.ts';
import { type RestoredIndex, restoreIndex } from './restore-index.ts';
import { Scrubber } from './scrub.ts';
import { FIRST_POSITION } from './segment-header.ts';
import { type LogSegment, SegmentPool } from './segment-pool.ts';
import { SegmentReaders } from './segment-readers.ts';
import { SpaceBudget } from './space-budget.ts';
import { OPENINGS_VOLUME_ID, VolumeEpochs } from './volume-epochs.ts';
import { WriteAdmission } from './write-admission.ts';

const DIRECTORY_ID_BYTES = 16;

export interface EngineOptions {
  readonly directory: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  /** LMDB if left out. */
  readonly openIndexStore?: OpenIndexStore;
  /** 32 hexadecimal digits; another node's directory is refused. A new directory gets it. */
  readonly nodeId?: string;
  /** Written into a new directory, for people. */
  readonly name?: string;
  /** What segments may take; the filesystem's free space is a limit too. */
  readonly capacityBytes?: number;
  /** Compare payload with its checksums before it is queued; for writes that came by a network. */
  readonly verifyPayload?: boolean;
  /**
   * Whether the directory has everything that it is known to have had; asked after replay, before
   * anything is served. One that has not is `old`: an old copy that was put back, or a log that lost
   * its end. It is damage like any other, and where damage is lived with the directory gets a new
   * id, so that nobody takes its content for what it was.
   */
  readonly judge?: (found: DirectoryState) => Promise<'whole' | 'old'>;
  /** What to do when acknowledged records cannot be read; `refuse` if left out. */
  readonly onDamage?: 'refuse' | 'degrade';
  /** A stored block turned out to be bad. */
  readonly onBadBlock?: (bad: BadBlock) => void;
  readonly log?: EngineLog;
  readonly limits?: Partial<EngineLimits>;
}

/**
 * Errors: `busy` (another process has it), `invalid` (another node's, or an unknown format),
 * `corrupt`; the disk's own errors.
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { directory, disk } = options;
  await disk.makeDirectory(directory);
  const lock = await disk.lock(join(directory, 'lock'));
  if (lock === undefined) {
    throw new DroverError('busy', `${directory} is in use by another process`);
  }
  let store: IndexStore | undefined;
  try {
    const found = await readIdentity(disk, directory, options.nodeId);
    if (found === undefined) await makeDirectories(options);
    store = await (options.openIndexStore ?? openLmdbIndexStore)(directory);
    const known = found ?? (await makeIdentity(options, store));
    const opened = await openParts(options, known, store);
    const identity = await judged(options, known, opened.replayed);
    const engine = assemble(options, identity, store, lock, opened);
    await opened.pool.refreshSpace();
    // The log may have been repaired by leaving something out: never meet that again.
    if (opened.damage.length > 0) await engine.checkpoint();
    if (options.judge !== undefined) await markOpening(engine, opened.state.epochs, options);
    return engine;
  } catch (error) {
    await store?.close();
    await lock.release();
    throw error;
  }
}

/** A node without room for one block still serves reads; what else it lacks is judged without. */
async function markOpening(
  engine: Engine,
  epochs: VolumeEpochs,
  { log }: EngineOptions,
): Promise<void> {
  const openings = epochs.durable(OPENINGS_VOLUME_ID) + 1;
  try {
    await engine.adoptEpoch(OPENINGS_VOLUME_ID, openings);
  } catch (error) {
    if (!isDroverError(error, 'outOfSpace')) {
      await engine.close();
      throw error;
    }
    (log ?? SILENT_LOG).warn('the disk is full: this opening is not marked in the log');
  }
}

function segmentsDirectory(directory: string): string {
  return join(directory, 'segments');
}

async function makeDirectories({ directory, disk }: EngineOptions): Promise<void> {
  const segments = segmentsDirectory(directory);
  await disk.makeDirectory(segments);
  await disk.makeDirectory(join(directory, 'index'));
  if ((await disk.list(segments)).length > 0) {
    throw new DroverError('corrupt', `${directory} has segments but no identity.json`);
  }
  await disk.syncDirectory(directory);
  await disk.syncDirectory(join(directory, '..'));
}

async function makeIdentity(options: EngineOptions, store: IndexStore): Promise<Identity> {
  const { disk, directory, random, clock } = options;
  const checkpoint = {
    segmentId: SEGMENT_NONE,
    position: FIRST_POSITION,
    batchSeq: 1,
    nextSegmentId: 1,
  };
  await store.write([{ key: indexKey.checkpoint(), value: encodeCheckpoint(checkpoint) }]);
  await disk.syncDirectory(join(directory, 'index'));
  return writeIdentity(disk, directory, {
    nodeId: options.nodeId ?? random.bytes(16).toString('hex'),
    directoryId: random.bytes(DIRECTORY_ID_BYTES).toString('hex'),
    name: options.name ?? '',
    segmentBytes: options.limits?.segmentBytes ?? ENGINE_LIMITS.segmentBytes,
    createdAt: new Date(clock.wallMs()).toISOString(),
  });
}

/** The identity to go on with. Error: `corrupt` for a directory that lacks what it had. */
async function judged(
  options: EngineOptions,
  identity: Identity,
  { end, lacksRecords }: ReplayResult,
): Promise<Identity> {
  const { disk, directory, random, judge, log } = options;
  const { directoryId } = identity;
  const verdict = await judge?.({ directoryId, batchSeq: end.batchSeq });
  if (!lacksRecords && verdict !== 'old') return identity;
  const why = lacksRecords
    ? 'its log lacks records that were acknowledged'
    : `it ends before batch ${end.batchSeq}, and had more: an old copy, or a log without its end`;
  if (options.onDamage !== 'degrade') throw new DroverError('corrupt', `${directory}: ${why}`);
  (log ?? SILENT_LOG).error(`the data directory counts as another one from now on: ${why}`);
  return writeIdentity(disk, directory, {
    ...identity,
    directoryId: random.bytes(DIRECTORY_ID_BYTES).toString('hex'),
  });
}

interface OpenedParts {
  readonly limits: EngineLimits;
  readonly stats: EngineStats;
  readonly state: EngineState;
  readonly restored: RestoredIndex;
  readonly pool: SegmentPool;
  readonly replayed: ReplayResult;
  readonly segment: LogSegment | undefined;
  readonly damage: readonly Damage[];
}

async function openParts(
  options: EngineOptions,
  identity: Identity,
  store: IndexStore,
): Promise<OpenedParts> {
  const { disk, random, directory } = options;
  const { nodeId, segmentBytes } = identity;
  const limits = { ...ENGINE_LIMITS, ...options.limits, segmentBytes };
  const onDamage = options.onDamage ?? 'refuse';
  const stats = new EngineStats();
  const state: EngineState = {
    index: new ObjectIndex(store, limits.cacheBytesMax),
    epochs: new VolumeEpochs(),
  };
  const restored = restoreIndex(store, state);
  const pool = new SegmentPool({
    disk,
    directory: segmentsDirectory(directory),
    random,
    nodeId,
    limits,
    capacityBytes: options.capacityBytes ?? Number.MAX_SAFE_INTEGER,
    log: options.log ?? SILENT_LOG,
  });
  await pool.open();
  pool.nextSegmentId = Math.max(pool.nextSegmentId, restored.checkpoint.nextSegmentId);
  const replayed = await replayLog({
    state,
    disk,
    path: (segmentId) => pool.path(segmentId),
    segmentIds: [...pool.segmentIds].sort((a, b) => a - b),
    start: restored.checkpoint,
    knownBatchSeq: restored.knownBatchSeq,
    nodeId,
    limits,
    stats,
    onDamage,
  });
  const missing = findMissingSegments(state, store, restored, pool.segmentIds);
  if (missing[0] !== undefined && onDamage === 'refuse') {
    throw new DroverError('corrupt', `segment ${missing[0].segmentId} is ${missing[0].reason}`);
  }
  const damage = [...replayed.damage, ...missing];
  if (pool.segmentIds.size === 0) await pool.fillFirst();
  const segment = await openEnd(disk, pool, replayed);
  for (const segmentId of [...pool.segmentIds]) {
    // Behind the end of the log are segments that were made ready, or hold a torn batch alone.
    const isUnused = segmentId > replayed.end.segmentId && state.index.live.of(segmentId) === 0;
    if (isUnused) await pool.recycle(segmentId);
  }
  return { limits, stats, state, restored, pool, replayed, segment, damage };
}

/**
 * The segment where the log goes on, if it can. A batch that was torn there is wiped out first:
 * were it found later beside others, it could pass for one that was acknowledged.
 */
async function openEnd(
  disk: Disk,
  pool: SegmentPool,
  { end, endNonce }: ReplayResult,
): Promise<LogSegment | undefined> {
  if (!pool.segmentIds.has(end.segmentId)) return undefined;
  const file = await disk.open(pool.path(end.segmentId), { durable: true });
  const startBytes = end.position * BLOCK_BYTES;
  const allocatedBytes = await file.sizeBytes();
  if (startBytes < allocatedBytes) await file.write([Buffer.alloc(BLOCK_BYTES)], startBytes);
  if (endNonce !== undefined) {
    return { segmentId: end.segmentId, nonce: endNonce, file, allocatedBytes };
  }
  await file.close();
  return undefined;
}

function assemble(
  options: EngineOptions,
  identity: Identity,
  store: IndexStore,
  lock: { release(): Promise<void> },
  opened: OpenedParts,
): Engine {
  const { disk, clock } = options;
  const { limits, stats, state, restored, pool, replayed, segment, damage } = opened;
  const engineLog = options.log ?? SILENT_LOG;
  const onBadBlock = options.onBadBlock ?? (() => {});
  const budget = new SpaceBudget(limits, pool, state.index.live);
  const readers = new SegmentReaders(disk, (id) => pool.path(id), limits.openSegmentsMax);
  const onFailure = (error: DroverError): void => engine.fail(error);
  const pacer = new Pacer(clock);
  const log = new GroupCommit({
    state,
    pool,
    budget,
    limits,
    clock,
    stats,
    place: replayed.end,
    segment,
    onBlocked: (why) => maintenance.onBlocked(why),
    onProgress: () => maintenance.onProgress(),
    onFailure,
  });
  pool.logGrowthBytes = () => log.growthBytes;
  const reader = new ObjectReader(readers, stats);
  const checkpointer = new Checkpointer(
    {
      state,
      store,
      limits,
      clock,
      stats,
      ...restored,
      place: () => log.place,
      nextSegmentId: () => pool.nextSegmentId,
    },
    restored.checkpoint,
  );
  const cleaner = new Cleaner({
    ...{ state, log, pool, readers, budget, limits, pacer, disk, stats, engineLog, onBadBlock },
    replaySegmentId: () => checkpointer.start.segmentId,
  });
  const { index } = state;
  const scrubber = new Scrubber({
    ...{ index, store, reader, limits, pacer, stats, onBadBlock },
  });
  const maintenance = new Maintenance({
    ...{ clock, pacer, limits, stats, index, pool, budget, log, checkpointer, cleaner, scrubber },
    engineLog,
    onFailure,
  });
  const verifyPayload = options.verifyPayload ?? false;
  const admission = new WriteAdmission({ state, log, budget, limits, stats, verifyPayload });
  const engine = new Engine({
    nodeId: identity.nodeId,
    directoryId: identity.directoryId,
    openId: options.random.bytes(16).toString('hex'),
    ...{ disk, lock, state, store, pool, readers, budget, log, admission },
    ...{ reader, checkpointer, cleaner, scrubber, maintenance, stats, engineLog, damage },
  });
  engine.start();
  return engine;
}
