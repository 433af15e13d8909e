/**
 * A store node on a simulated disk, which can crash at any moment.
 */
import type { Engine } from '../../../store/engine/engine.ts';
import type { EngineLimits } from '../../../store/engine/limits.ts';
import { type EngineOptions, openEngine } from '../../../store/engine/open-engine.ts';
import type { Version } from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { SimDisk } from '../../sim/sim-disk.ts';
import { SimIndexDisk } from '../../sim/sim-index-store.ts';
import { simRandom } from '../../sim/sim-random.ts';
import { SimScheduler } from '../../sim/sim-scheduler.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { contentRead } from './sample-blocks.ts';

export const DIRECTORY = '/node';
const KIB = 1024;

/** Everything small, so that a few hundred writes meet every limit. */
export const SMALL_LIMITS: Partial<EngineLimits> = {
  segmentBytes: 128 * KIB,
  batchPayloadBytesMax: 32 * KIB,
  batchRecordsMax: 16,
  cacheBytesMax: 8 * KIB,
  checkpointPinnedBytes: 16 * KIB,
  pinnedBytesMax: 32 * KIB,
  checkpointLogBytes: 384 * KIB,
  checkpointAgeMs: 500,
  checkpointCommitObjects: 4,
  indexSpaceBytes: 0,
  reserveSegments: 2,
  // Records and batches are large beside these segments: moved blocks take a third more room.
  cleaningSlackRatio: 0.4,
  urgentVictimLiveRatio: 0.6,
  blockedVictimLiveRatio: 0.7,
  relaxedSegmentsMin: 3,
  ampleFreeRatio: 1,
  cleaningBytes: 32 * KIB,
  openSegmentsMax: 3,
  scanBytes: 16 * KIB,
  tickMs: 100,
};

export class SimulatedNode {
  readonly random: SeededRandom;
  readonly scheduler: SimScheduler;
  readonly index: SimIndexDisk;
  readonly options: Partial<EngineOptions>;
  disk: SimDisk;
  engine!: Engine;

  constructor(random: SeededRandom, options: Partial<EngineOptions> = {}) {
    this.random = random;
    this.options = options;
    this.scheduler = new SimScheduler(random);
    this.disk = new SimDisk(this.scheduler);
    this.index = new SimIndexDisk(this.scheduler);
  }

  async open(options: Partial<EngineOptions> = {}): Promise<Engine> {
    const opening = openEngine({
      directory: DIRECTORY,
      disk: this.disk,
      clock: this.scheduler.clock,
      random: simRandom(this.random),
      openIndexStore: () => this.index.open(),
      limits: SMALL_LIMITS,
      ...this.options,
      ...options,
    });
    this.engine = await this.scheduler.until(opening);
    return this.engine;
  }

  /** Power cut, or (`keepsCache`) a killed process. */
  crash(keepsCache = false): void {
    this.disk = this.disk.crash(keepsCache);
    this.index.crash();
    this.scheduler.forgetAll();
  }

  run<T>(promise: Promise<T>): Promise<T> {
    return this.scheduler.until(promise);
  }

  /** The error of a promise that must fail. */
  async errorOf(promise: Promise<unknown>): Promise<unknown> {
    try {
      await this.run(promise);
    } catch (error) {
      return error;
    }
    throw new Error('it succeeded');
  }

  /** The content of an object, which must have this version, in the terms of sample-blocks.ts. */
  async contentOf(
    layerId: number,
    objectIndex: number,
    expected: Version,
    blockCount: number,
  ): Promise<number[]> {
    const bytes = Buffer.alloc(blockCount * BLOCK_BYTES);
    const request = { layerId, objectIndex, expected, startBlock: 0, blockCount };
    const { kinds, blockCrcs } = await this.run(this.engine.read(request, [bytes]));
    return contentRead(kinds, blockCrcs, bytes);
  }

  async versionOf(layerId: number, objectIndex: number): Promise<Version> {
    return (await this.run(this.engine.describeObject({ layerId, objectIndex }, 0))).version;
  }
}
