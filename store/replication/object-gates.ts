/**
 * Gates of single objects: while one is held, no new write of that object is sent.
 *
 * Owns: who holds a gate and who waits for it, in order. Held for a copy, a reconciliation or a
 * comparison of one object. Does not own: writes that were under way before; the holder waits for
 * them where it must.
 */
export class ObjectGates {
  readonly #queues = new Map<number, (() => void)[]>();

  /** False nearly always, and then the data path asks no further. */
  get areAnyHeld(): boolean {
    return this.#queues.size > 0;
  }

  isHeld(objectIndex: number): boolean {
    return this.#queues.has(objectIndex);
  }

  /** Resolves when the gate is the caller's, to the function that gives it back. */
  async hold(objectIndex: number): Promise<() => void> {
    const queue = this.#queues.get(objectIndex);
    if (queue === undefined) this.#queues.set(objectIndex, []);
    else await new Promise<void>((resolve) => queue.push(resolve));
    return () => this.#release(objectIndex);
  }

  #release(objectIndex: number): void {
    const queue = this.#queues.get(objectIndex)!;
    const next = queue.shift();
    if (next === undefined) this.#queues.delete(objectIndex);
    else next();
  }
}
