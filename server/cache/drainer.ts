/**
 * Decides when dirty objects are written back without anybody asking for it, the oldest first.
 *
 * Owns: the marks at which it starts, the age limit, and the pause after a failure. Does not own:
 * what a write does (`write-back.ts`).
 * Invariants: while there are dirty objects, either something is in flight or a timer is set; a
 * volume whose writes fail is tried again after a pause that grows, and costs others nothing.
 */
import type { TimerHandle } from '../../store/runtime/clock.ts';
import type { CachedObject } from './cached-object.ts';
import type { CachedVolume } from './cached-volume.ts';
import type { ObjectCache } from './object-cache.ts';

const NEVER_MS = Number.POSITIVE_INFINITY;

export class Drainer {
  readonly #cache: ObjectCache;
  readonly #startSlots: number;
  readonly #startObjects: number;
  readonly #run = () => this.#drain();
  #isScheduled = false;
  #timer: TimerHandle | undefined;
  #timerDueMs = NEVER_MS;

  constructor(cache: ObjectCache) {
    const { limits } = cache;
    this.#cache = cache;
    this.#startSlots = Math.floor(cache.slab.slots * limits.drainShare);
    this.#startObjects = Math.floor(limits.objectsMax * limits.drainShare);
  }

  /** Hot path. Call after something became dirty. */
  notice(): void {
    if (!this.#isScheduled && this.#isPressed()) this.schedule();
  }

  /** Call after a write of the volume settled. */
  settled(volume: CachedVolume): void {
    if (volume.isRecovering) this.schedule();
    else this.notice();
    if (volume.dirty.head !== undefined) this.armTimer();
  }

  /** Looks at the end of this turn whether something is due. */
  schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#cache.clock.endOfTurn(this.#run);
  }

  /** Hot path. Makes sure that a timer is set, so that what is dirty now is sent at its age. */
  armTimer(): void {
    if (this.#timer === undefined) this.#setTimer();
  }

  /** More is dirty, beyond what is on its way, than may stay so, or somebody waits for it. */
  #isPressed(): boolean {
    const { dirtySlots, dirtyObjects, writeBack, room, admission } = this.#cache;
    return (
      dirtySlots - writeBack.slotsInFlight > this.#startSlots ||
      dirtyObjects - writeBack.flights > this.#startObjects ||
      room.length > 0 ||
      admission.length > 0
    );
  }

  #drain(): void {
    this.#isScheduled = false;
    const { writeBack, limits, clock } = this.#cache;
    const nowMs = clock.nowMs();
    while (
      writeBack.bytesInFlight < limits.drainBytesMax &&
      writeBack.flights < limits.drainFlightsMax
    ) {
      const object = this.#oldest(nowMs);
      if (object === undefined) break;
      if (this.#dueMs(object.volume, object) > nowMs && !this.#isPressed()) break;
      writeBack.send(object);
    }
    this.#setTimer();
  }

  /** The object to be sent first, of the volumes that are not in a pause. */
  #oldest(nowMs: number): CachedObject | undefined {
    let oldest: CachedObject | undefined;
    let oldestDueMs = NEVER_MS;
    for (const volume of this.#cache.volumes) {
      const object = volume.dirty.head;
      if (object === undefined || volume.retryAtMs > nowMs) continue;
      const dueMs = this.#dueMs(volume, object);
      if (dueMs < oldestDueMs) {
        oldest = object;
        oldestDueMs = dueMs;
      }
    }
    return oldest;
  }

  /** When the object is to be sent even if nothing presses. */
  #dueMs(volume: CachedVolume, object: CachedObject): number {
    // What could not be written is at more risk than its age says.
    if (volume.isRecovering) return volume.retryAtMs;
    return object.dirtySinceMs + this.#cache.limits.dirtyAgeMsMax;
  }

  #setTimer(): void {
    const nowMs = this.#cache.clock.nowMs();
    let dueMs = NEVER_MS;
    for (const volume of this.#cache.volumes) {
      const object = volume.dirty.head;
      if (object === undefined) continue;
      const wantedMs = this.#isPressed()
        ? volume.retryAtMs
        : Math.max(volume.retryAtMs, this.#dueMs(volume, object));
      // What is due already found no room in flight: it is looked at when something settles.
      if (wantedMs > nowMs || this.#cache.writeBack.flights === 0) {
        dueMs = Math.min(dueMs, wantedMs);
      }
    }
    if (dueMs >= this.#timerDueMs) return;
    this.#timer?.cancel();
    this.#timerDueMs = dueMs;
    const delayMs = Math.max(1, dueMs - nowMs);
    this.#timer = this.#cache.clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      this.#timerDueMs = NEVER_MS;
      this.#drain();
    });
  }
}
