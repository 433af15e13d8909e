/**
 * A load of stamped operations over several connections, told to a `StampedDiskModel`.
 *
 * Owns: which operations are made, and the checking of reads while the server lives. Does not own
 * the server; when it dies, the load ends and the model knows what was answered until then.
 */
import {
  ConnectionLost,
  ERROR_ESHUTDOWN,
  FLAG_FUA,
  type NbdClient,
  NbdReplyError,
} from './nbd-client.ts';
import type { SeededRandom } from './seeded-random.ts';
import {
  STAMPED_BLOCK_BYTES,
  type StampedDiskModel,
  stampedBytes,
  stampOf,
} from './stamped-disk-model.ts';

export interface LoadMix {
  /** Share of operations, 0 to 1; what is left are writes. */
  readonly flush: number;
  readonly zero: number;
  readonly read: number;
  /** Share of writes, trims and zeroes that ask for FUA. */
  readonly fua: number;
  /** The disk below may fail: an error as an answer ends the load instead of the test. */
  readonly errorsAllowed?: boolean;
}

export const USUAL_MIX: LoadMix = { flush: 0.02, zero: 0.06, read: 0.1, fua: 0.04 };

/** Nothing asks for durability: only the drainer writes back. */
export const UNFLUSHED_MIX: LoadMix = { flush: 0, zero: 0.06, read: 0.1, fua: 0 };

const REQUESTS_PER_CONNECTION = 8;
const PLACE_TRIES_MAX = 50;

interface Place {
  readonly startBlock: number;
  readonly blockCount: number;
}

export class StampingWriter {
  readonly counts = { write: 0, zero: 0, read: 0, flush: 0 };
  readonly #model: StampedDiskModel;
  readonly #random: SeededRandom;
  readonly #mix: LoadMix;
  readonly #workers: Promise<void>[];
  #stopping = false;

  /** Starts at once. */
  constructor(
    model: StampedDiskModel,
    random: SeededRandom,
    clients: readonly NbdClient[],
    mix: LoadMix,
  ) {
    this.#model = model;
    this.#random = random;
    this.#mix = mix;
    this.#workers = clients.flatMap((client) =>
      Array.from({ length: REQUESTS_PER_CONNECTION }, () => this.#work(client)),
    );
  }

  /** Ends when the server is gone, or after `stop`; throws what was wrong meanwhile. */
  async ended(): Promise<void> {
    await Promise.all(this.#workers);
  }

  /** Starts nothing more and waits until all is answered. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.ended();
  }

  async #work(client: NbdClient): Promise<void> {
    try {
      while (!this.#stopping) await this.#oneOperation(client);
    } catch (error) {
      if (!this.#endsLoad(error)) throw error;
    }
  }

  /** The load ends with the server, killed or stopping; anything else is a finding. */
  #endsLoad(error: unknown): boolean {
    if (error instanceof ConnectionLost) return true;
    if (!(error instanceof NbdReplyError)) return false;
    return this.#mix.errorsAllowed === true || error.code === ERROR_ESHUTDOWN;
  }

  async #oneOperation(client: NbdClient): Promise<void> {
    const { flush, zero, read } = this.#mix;
    const draw = this.#random.fraction();
    if (draw < flush) {
      await this.#flush(client);
      return;
    }
    const place = this.#idlePlace();
    if (draw < flush + read) await this.#read(client, place);
    else if (draw < flush + read + zero) await this.#zero(client, place);
    else await this.#write(client, place);
  }

  async #flush(client: NbdClient): Promise<void> {
    const submittedAt = this.#model.flushSubmitted();
    await client.flush();
    this.#model.flushAnswered(submittedAt);
    this.counts.flush += 1;
  }

  async #read(client: NbdClient, { startBlock, blockCount }: Place): Promise<void> {
    const expected = this.#model.readSubmitted(startBlock, blockCount);
    const bytes = await client.read(
      startBlock * STAMPED_BLOCK_BYTES,
      blockCount * STAMPED_BLOCK_BYTES,
    );
    this.#model.readAnswered(startBlock, blockCount);
    for (const [index, stamp] of expected.entries()) {
      const at = index * STAMPED_BLOCK_BYTES;
      const found = stampOf(startBlock + index, bytes.subarray(at, at + STAMPED_BLOCK_BYTES));
      if (found !== stamp) {
        throw new Error(`block ${startBlock + index} reads as ${found}, newest answered ${stamp}`);
      }
    }
    this.counts.read += 1;
  }

  async #zero(client: NbdClient, { startBlock, blockCount }: Place): Promise<void> {
    const fua = this.#random.chance(this.#mix.fua);
    const trim = this.#random.chance(0.5);
    const operation = this.#model.submitZero(startBlock, blockCount);
    const [offset, length] = [startBlock * STAMPED_BLOCK_BYTES, blockCount * STAMPED_BLOCK_BYTES];
    if (trim) await client.trim(offset, length, fua ? FLAG_FUA : 0);
    else await client.writeZeroes(offset, length, fua ? FLAG_FUA : 0);
    this.#model.answered(operation, fua);
    this.counts.zero += 1;
  }

  async #write(client: NbdClient, { startBlock, blockCount }: Place): Promise<void> {
    const fua = this.#random.chance(this.#mix.fua);
    const operation = this.#model.submitWrite(startBlock, blockCount);
    const payload = stampedBytes(startBlock, blockCount, operation.stamp);
    await client.write(startBlock * STAMPED_BLOCK_BYTES, payload, fua ? FLAG_FUA : 0);
    this.#model.answered(operation, fua);
    this.counts.write += 1;
  }

  /** Mostly single blocks, half of them in a hot sixteenth of the disk, some long runs. */
  #idlePlace(): Place {
    const random = this.#random;
    for (let tries = 0; tries < PLACE_TRIES_MAX; tries++) {
      const kind = random.fraction();
      const wanted = kind < 0.6 ? 1 : kind < 0.95 ? random.between(2, 32) : random.between(33, 256);
      const reach = this.#model.blockCount >>> (random.chance(0.5) ? 4 : 0);
      const startBlock = random.below(reach);
      const blockCount = Math.min(wanted, this.#model.blockCount - startBlock);
      if (this.#model.isIdle(startBlock, blockCount)) return { startBlock, blockCount };
    }
    throw new Error('no idle place found: the disk is too small for this load');
  }
}
