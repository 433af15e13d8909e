/**
 * Sends dirty objects to the store and tells everybody concerned how it went.
 *
 * Owns: what is in flight, and the bounds of it. Does not own: which objects are due (the drainer
 * and the flushes say so), building a flight.
 * Invariant: one write in flight for each object. An object that a flush waits for is sent as soon
 * as it is not held and there is room in flight.
 */
import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { CachedObject } from './cached-object.ts';
import type { CachedVolume } from './cached-volume.ts';
import { abandon, type Flight, land, takeOff, turnBack } from './flight.ts';
import type { ObjectCache } from './object-cache.ts';

export class WriteBack {
  bytesInFlight = 0;
  slotsInFlight = 0;
  flights = 0;
  /** Blocks read when that was last looked at, and when it was last seen to have grown. */
  #readBlocks = 0;
  #readSeenMs = Number.NEGATIVE_INFINITY;
  readonly #cache: ObjectCache;
  /** Volumes whose flushes found no room in flight, in the order in which they asked. */
  readonly #starved = new Set<CachedVolume>();

  constructor(cache: ObjectCache) {
    this.#cache = cache;
  }

  /** Sends the objects of the volume that a flush waits for, as far as there is room in flight. */
  pump(volume: CachedVolume): void {
    for (;;) {
      const object = volume.dirty.head;
      if (object === undefined || !isWaitedFor(object)) break;
      if (!this.#hasRoom(volume)) {
        this.#starved.add(volume);
        return;
      }
      this.send(object);
    }
    this.#starved.delete(volume);
  }

  /** Sends what is dirty of the volume before anybody waits for it, as far as there is room. */
  sendAhead(volume: CachedVolume): void {
    if (volume.isRecovering) return;
    for (;;) {
      const object = volume.dirty.head;
      if (object === undefined || !this.#hasRoom(volume)) return;
      this.#cache.stats.sentAheadObjects += 1;
      this.send(object);
    }
  }

  #hasRoom(volume: CachedVolume): boolean {
    const { flushBytesMax, flushBytesMaxBesideReads, flushFlightsMax } = this.#cache.limits;
    if (this.flights >= flushFlightsMax || this.bytesInFlight >= flushBytesMax) return false;
    // For each volume: one whose node does not answer must not take the room of all.
    return volume.bytesInFlight < flushBytesMaxBesideReads || !this.#isSomebodyReading();
  }

  #isSomebodyReading(): boolean {
    const { clock, stats, limits } = this.#cache;
    const nowMs = clock.nowMs();
    if (stats.readBlocks !== this.#readBlocks) {
      this.#readBlocks = stats.readBlocks;
      this.#readSeenMs = nowMs;
    }
    return nowMs - this.#readSeenMs < limits.readingMs;
  }

  /** Sends all dirty blocks of a listed object. */
  send(object: CachedObject): void {
    object.volume.dirty.remove(object);
    const flight = takeOff(this.#cache, object);
    this.bytesInFlight += flight.weightBytes;
    object.volume.bytesInFlight += flight.weightBytes;
    this.slotsInFlight += flight.slots.length;
    this.flights += 1;
    const { store } = object.volume;
    object.volume.countTransfer(1);
    const payload = this.#cache.slab.views(flight.slots);
    store.write(object.objectIndex, flight.extents, payload).then(
      () => this.#landed(flight),
      (error: unknown) => this.#failed(flight, error),
    );
  }

  /** Puts an object with dirty blocks that is not held any more back into its volume's list. */
  list(object: CachedObject): void {
    if (isWaitedFor(object)) object.volume.dirty.pushFront(object);
    else object.volume.dirty.pushBack(object);
  }

  #landed(flight: Flight): void {
    const { object } = flight;
    const { stats } = this.#cache;
    stats.writtenBytes += flight.slots.length * BLOCK_BYTES;
    stats.writtenObjects += 1;
    object.volume.writeSucceeded();
    if (object.isDropped) abandon(this.#cache, flight);
    else land(this.#cache, flight);
    this.#settled(flight);
    for (const flush of flight.rangeFlushes) flush.done();
    this.#cache.admission.drained(flight.slots.length);
  }

  #failed(flight: Flight, error: unknown): void {
    const { object } = flight;
    this.#cache.stats.writeFailures += 1;
    object.volume.writeFailed(error);
    if (object.isDropped) abandon(this.#cache, flight);
    else turnBack(this.#cache, flight);
    object.volume.flushes.rounds.fail(flight.round, error);
    this.#settled(flight);
    for (const flush of flight.rangeFlushes) flush.failed(error);
    this.#cache.admission.refuseHopeless();
  }

  #settled(flight: Flight): void {
    const { object } = flight;
    const { volume } = object;
    this.bytesInFlight -= flight.weightBytes;
    volume.bytesInFlight -= flight.weightBytes;
    this.slotsInFlight -= flight.slots.length;
    this.flights -= 1;
    volume.countTransfer(-1);
    object.flight = undefined;
    flight.round.pendingObjects -= 1;
    if (!object.isDropped) {
      if (object.dirtyBlocks === 0) this.#cache.countDirtyObjects(volume, -1);
      else if (!object.isHeld) this.list(object);
    }
    volume.flushes.rounds.advance();
    this.pump(volume);
    for (const starved of this.#starved) this.pump(starved);
    this.#cache.room.wake();
    this.#cache.drainer.settled(volume);
  }
}

function isWaitedFor(object: CachedObject): boolean {
  return object.round!.isClosed || object.rangeFlushes !== undefined;
}
