/**
 * The flushes of one volume: whole, and of a range of objects.
 *
 * Owns: the flush rounds, and starting them together at the end of the turn in which they came:
 * the FLUSHes of one turn share one round and, below, one group commit. Starting before the FLUSH
 * comes, where it is expected. Does not own: sending.
 */
import type { CachedObject } from './cached-object.ts';
import type { CachedVolume } from './cached-volume.ts';
import { FlushForesight } from './flush-foresight.ts';
import { FlushRounds, RangeFlush } from './flush-rounds.ts';

const DONE = Promise.resolve();

export class VolumeFlushes {
  readonly rounds: FlushRounds;
  readonly #volume: CachedVolume;
  readonly #foresight: FlushForesight;
  #isExpected = false;
  #isScheduled = false;
  readonly #onEndOfTurn = () => this.#start();

  constructor(volume: CachedVolume) {
    const { clock, stats, limits } = volume.cache;
    this.#volume = volume;
    this.#foresight = new FlushForesight(limits.foresightFlushes);
    this.rounds = new FlushRounds(clock, stats.flushSeconds);
  }

  /** Hot path. Call after each write. */
  wrote(): void {
    if (!this.#foresight.wrote()) return;
    this.#isExpected = true;
    this.#schedule();
  }

  /**
   * Resolves when everything written before is durable. Errors: those of the store; what was not
   * written stays dirty.
   */
  flush(): Promise<void> {
    this.#volume.cache.stats.flushes += 1;
    if (this.#volume.dirtyObjects === 0) {
      this.#foresight.flushed();
      return DONE;
    }
    this.#schedule();
    return this.rounds.ask();
  }

  /** The same for the objects from `firstIndex` to `lastIndex`. */
  flushObjects(firstIndex: number, lastIndex: number): Promise<void> {
    if (this.#volume.dirtyObjects === 0) return DONE;
    const flush = new RangeFlush();
    for (let index = firstIndex; index <= lastIndex; index += 1) {
      const object = this.#volume.cache.peek(this.#volume, index);
      if (object !== undefined) this.#join(object, flush);
    }
    this.#schedule();
    flush.done();
    return flush.promise;
  }

  /** Makes the flush wait for what is dirty or in flight of the object. */
  #join(object: CachedObject, flush: RangeFlush): void {
    if (object.dirtyBlocks > 0) {
      flush.add();
      if (object.rangeFlushes === undefined) object.rangeFlushes = [flush];
      else object.rangeFlushes.push(flush);
      if (!object.isListed) return;
      this.#volume.dirty.remove(object);
      this.#volume.dirty.pushFront(object);
    } else if (object.flight !== undefined) {
      flush.add();
      object.flight.rangeFlushes.push(flush);
    }
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#volume.cache.clock.endOfTurn(this.#onEndOfTurn);
  }

  #start(): void {
    this.#isScheduled = false;
    if (this.rounds.isAsked) {
      this.#foresight.flushed();
      this.rounds.close();
    }
    const { writeBack } = this.#volume.cache;
    writeBack.pump(this.#volume);
    if (this.#isExpected) {
      this.#isExpected = false;
      writeBack.sendAhead(this.#volume);
    }
  }
}
