/**
 * Slow requests that wait for slots, pages or places for objects, first come first served.
 *
 * Owns: the queue. Does not own: what a request needs; it brings an attempt that takes it.
 * Invariants: only the first attempt is tried, so a large request is not starved by small ones;
 * the data path takes nothing while somebody waits. A request that waits holds nothing that
 * another one could wait for, so what it needs comes free when writes and fetches settle.
 */
interface Waiting {
  readonly attempt: () => boolean;
  readonly resolve: () => void;
}

export class RoomQueue {
  readonly #waiting: Waiting[] = [];
  readonly #onWait: () => void;
  #isWaking = false;

  /** `onWait` is called when somebody starts to wait: the drainer has to make room. */
  constructor(onWait: () => void) {
    this.#onWait = onWait;
  }

  /** Hot path. Requests waiting; bounded by the requests that the connections have open. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Resolves after `attempt` returned true; it is called whenever there may be room. */
  wait(attempt: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ attempt, resolve });
      // The data path looks for room only here and there; the first in line looks everywhere.
      if (this.#waiting.length === 1) this.wake();
      if (this.#waiting.length > 0) this.#onWait();
    });
  }

  /** Call after anything came free or a volume was closed. */
  wake(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    while (this.#waiting.length > 0 && this.#waiting[0]!.attempt()) {
      this.#waiting.shift()!.resolve();
    }
    this.#isWaking = false;
  }
}
