/**
 * Reads everything that is live, at a bounded rate, and compares it with its checksums.
 *
 * Owns: one pass over all objects. Does not own: when passes are made, or repair: a bad block is
 * counted and reported, and whoever has another copy repairs it.
 */
import { crc32 } from '@node-rs/crc32';
import { BLOCK_BYTES } from '../geometry.ts';
import { isDroverError } from '../runtime/drover-error.ts';
import type { BadBlock } from './cleaner.ts';
import type { EngineStats } from './engine-stats.ts';
import type { IndexStore } from './index-store.ts';
import type { EngineLimits } from './limits.ts';
import type { ObjectIndex } from './object-index.ts';
import { type ObjectReader, planRead, type ReadPlan } from './object-reader.ts';
import type { Pacer } from './pacer.ts';
import { BlockKind } from './store-node.ts';
import { listVersions } from './version-listing.ts';

export interface ScrubOptions {
  readonly index: ObjectIndex;
  readonly store: IndexStore;
  readonly reader: ObjectReader;
  readonly limits: EngineLimits;
  readonly pacer: Pacer;
  readonly stats: EngineStats;
  readonly onBadBlock: (bad: BadBlock) => void;
}

export interface ScrubResult {
  readonly bytes: number;
  readonly badBlocks: number;
}

const OBJECTS_PER_PAGE = 1024;
const BLOCKS_AT_ONCE = 256;

export class Scrubber {
  readonly #options: ScrubOptions;
  readonly #buffer = Buffer.allocUnsafe(BLOCKS_AT_ONCE * BLOCK_BYTES);

  constructor(options: ScrubOptions) {
    this.#options = options;
  }

  /** `bytesPerSecond` of 0 is unbounded. */
  async pass(bytesPerSecond: number): Promise<ScrubResult> {
    const { index, store, stats, pacer } = this.#options;
    let bytes = 0;
    let badBlocks = 0;
    for (const layerId of [...index.objectCounts.keys()]) {
      let from = 0;
      for (;;) {
        const page = listVersions(index, store, layerId, from, OBJECTS_PER_PAGE);
        for (const objectIndex of page.objectIndexes) {
          if (pacer.isStopped) return { bytes, badBlocks };
          const result = await this.#scrubObject(layerId, objectIndex, bytesPerSecond);
          bytes += result.bytes;
          badBlocks += result.badBlocks;
        }
        if (page.count < OBJECTS_PER_PAGE) break;
        from = page.objectIndexes.at(-1)! + 1;
      }
    }
    stats.scrubPasses += 1;
    return { bytes, badBlocks };
  }

  async #scrubObject(
    layerId: number,
    objectIndex: number,
    bytesPerSecond: number,
  ): Promise<ScrubResult> {
    const { index, pacer, stats } = this.#options;
    let bytes = 0;
    let badBlocks = 0;
    for (let start = 0; ; start += BLOCKS_AT_ONCE) {
      const entry = index.peek(layerId, objectIndex);
      if (entry === undefined || start >= entry.tableBlocks) break;
      const count = Math.min(BLOCKS_AT_ONCE, entry.tableBlocks - start);
      const plan = planRead(entry, start, count);
      const dataBytes = plan.kinds.filter((kind) => kind === BlockKind.data).length * BLOCK_BYTES;
      if (dataBytes === 0) continue;
      for (const i of await this.#findBad(layerId, objectIndex, start, plan)) {
        badBlocks += 1;
        stats.scrubErrors += 1;
        this.#options.onBadBlock({ layerId, objectIndex, block: start + i });
      }
      bytes += dataBytes;
      stats.scrubBytes += dataBytes;
      if (bytesPerSecond > 0) await pacer.pause(dataBytes, bytesPerSecond);
    }
    return { bytes, badBlocks };
  }

  /** Blocks, counted from the plan's first, that are bad when they are looked at again alone. */
  async #findBad(
    layerId: number,
    objectIndex: number,
    start: number,
    plan: ReadPlan,
  ): Promise<number[]> {
    const count = plan.kinds.length;
    const suspects = await this.#mismatches(plan, this.#buffer.subarray(0, count * BLOCK_BYTES));
    const bad: number[] = [];
    for (const i of suspects) {
      // The block may have been written, moved or repaired since.
      const again = planRead(this.#options.index.peek(layerId, objectIndex), start + i, 1);
      const alone = this.#buffer.subarray(0, BLOCK_BYTES);
      if ((await this.#mismatches(again, alone)).length > 0) bad.push(i);
    }
    return bad;
  }

  /** Data blocks whose bytes do not match; all of them if one cannot be read. */
  async #mismatches(plan: ReadPlan, target: Buffer): Promise<number[]> {
    let isReadable = true;
    try {
      await this.#options.reader.read(plan, [target]);
    } catch (error) {
      if (!isDroverError(error, 'corrupt')) throw error;
      isReadable = false;
    }
    const found: number[] = [];
    for (let i = 0; i < plan.kinds.length; i += 1) {
      if (plan.kinds[i] !== BlockKind.data) continue;
      const bytes = target.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
      if (!isReadable || crc32(bytes) !== plan.blockCrcs[i]) found.push(i);
    }
    return found;
  }
}
