/**
 * Copies of the embedded control plane's records, one for each data directory: a commit counts
 * when a majority has it durable, so that any one of three directories may vanish or fill up.
 *
 * Owns: which copy is right at opening, which copies are behind, and bringing those up again.
 * Does not own: what the records mean; the caller hands in one change at a time.
 * Invariants: at opening, a majority of the copies that last counted is read, so the newest of them
 * has every commit that was answered. A copy that missed or failed a change is replaced whole
 * before it counts again. A revision that failed is never used for another change.
 */
import { strict as assert } from 'node:assert';
import type { Clock, TimerHandle } from '../runtime/clock.ts';
import { DroverError } from '../runtime/drover-error.ts';
import type { Random } from '../runtime/random.ts';
import type { ControlCopy, ControlDelta, ControlImage } from './control-image.ts';
import { CLUSTER_ID_BYTES, COMMIT_TIMEOUT_MS, STALE_COPY_RETRY_MS } from './limits.ts';

interface Slot {
  readonly copy: ControlCopy;
  /** What the copy surely holds; `undefined` when that is not known. */
  heldRevision: number | undefined;
  /** A call is under way; a hung disk may leave it so for long. */
  isBusy: boolean;
  /** What to do once that call has settled: only the newest matters. */
  next: (() => void) | undefined;
}

export interface MirroredCopiesOptions {
  readonly copies: readonly ControlCopy[];
  /** How many there are meant to be, those that could not be opened included. */
  readonly copyCount: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of a copy that fails and of one that is current again. */
  readonly onCopyEvent?:
    | ((copyName: string, event: 'behind' | 'current', cause?: unknown) => void)
    | undefined;
}

const majorityOf = (count: number): number => Math.floor(count / 2) + 1;

function isNewer(a: ControlImage, b: ControlImage): boolean {
  return a.generation === b.generation ? a.revision > b.revision : a.generation > b.generation;
}

/**
 * The newest image, or `undefined` when all copies are new.
 * Errors: `invalid` for copies of different control planes, `unavailable` if too few can be read.
 */
function newestImage(copies: readonly ControlCopy[], copyCount: number): ControlImage | undefined {
  let newest: { image: ControlImage; name: string } | undefined;
  let imageCount = 0;
  for (const { name, opened: image } of copies) {
    if (image === undefined) continue;
    imageCount += 1;
    if (newest !== undefined && newest.image.clusterId !== image.clusterId) {
      throw new DroverError(
        'invalid',
        `${newest.name} and ${name} belong to different control planes`,
      );
    }
    if (newest === undefined || isNewer(image, newest.image)) newest = { image, name };
  }
  const missing = copyCount - copies.length;
  if (newest === undefined) {
    if (missing === 0) return undefined;
    throw new DroverError(
      'unavailable',
      `${missing} of ${copyCount} directories cannot be read, and the others have no control records`,
    );
  }
  const needed = majorityOf(newest.image.copyCount);
  if (imageCount < needed) {
    throw new DroverError(
      'unavailable',
      `control records were found in ${imageCount} of ${newest.image.copyCount} directories, and newer ones may be in the others: give at least ${needed} of those that were used last`,
    );
  }
  return newest.image;
}

export class MirroredCopies {
  readonly #slots: Slot[];
  readonly #copyCount: number;
  readonly #clock: Clock;
  readonly #onCopyEvent: MirroredCopiesOptions['onCopyEvent'];
  #image: ControlImage;
  #highestRevision: number;
  #retryTimer: TimerHandle | undefined;
  #isClosed = false;

  /** Errors: as `newestImage`; `unavailable` if fewer than a majority can be written. */
  static async open(options: MirroredCopiesOptions): Promise<MirroredCopies> {
    const found = newestImage(options.copies, options.copyCount);
    const image: ControlImage = {
      clusterId: found?.clusterId ?? options.random.bytes(CLUSTER_ID_BYTES).toString('hex'),
      generation: (found?.generation ?? 0) + 1,
      revision: (found?.revision ?? 0) + 1,
      copyCount: options.copyCount,
      records: found?.records ?? new Map(),
    };
    const mirrored = new MirroredCopies(options, image);
    try {
      await mirrored.#commit(undefined, image);
      return mirrored;
    } catch (error) {
      mirrored.#stop();
      throw error;
    }
  }

  private constructor(options: MirroredCopiesOptions, image: ControlImage) {
    this.#slots = options.copies.map((copy) => ({
      copy,
      heldRevision: undefined,
      isBusy: false,
      next: undefined,
    }));
    this.#copyCount = options.copyCount;
    this.#clock = options.clock;
    this.#onCopyEvent = options.onCopyEvent;
    this.#image = image;
    this.#highestRevision = image.revision;
  }

  /** What the last change that counted left. */
  get image(): ControlImage {
    return this.#image;
  }

  /** Names of the copies that hold all of it. */
  get currentCopies(): string[] {
    return this.#slots
      .filter((slot) => slot.heldRevision === this.#image.revision)
      .map((slot) => slot.copy.name);
  }

  /**
   * Makes a change durable; one at a time. Error: `unavailable`, after which the image is as before
   * unless the process ends before the next change: then the next opening decides.
   */
  apply(delta: ControlDelta): Promise<void> {
    assert(delta.revision > this.#highestRevision, `revision ${delta.revision} was used before`);
    this.#highestRevision = delta.revision;
    const records = new Map(this.#image.records);
    for (const key of delta.remove) records.delete(key);
    for (const [key, record] of delta.put) records.set(key, record);
    return this.#commit(delta, { ...this.#image, revision: delta.revision, records });
  }

  #commit(delta: ControlDelta | undefined, image: ControlImage): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const needed = majorityOf(this.#copyCount);
    let durableCount = 0;
    let failedCount = this.#copyCount - this.#slots.length;
    let isSettled = false;
    const fail = (cause: unknown): void => {
      if (isSettled) return;
      isSettled = true;
      timer.cancel();
      // A change that failed must not reach a copy later.
      for (const slot of this.#slots) slot.next = undefined;
      this.#retryLater();
      reject(
        new DroverError(
          'unavailable',
          `the control records could be written to ${durableCount} of ${this.#copyCount} directories; ${needed} are needed`,
          cause,
        ),
      );
    };
    const timer = this.#clock.setTimer(COMMIT_TIMEOUT_MS, () =>
      fail(new Error(`no answer within ${COMMIT_TIMEOUT_MS} ms`)),
    );
    const onDone = (error: unknown): void => {
      if (error === undefined) durableCount += 1;
      else failedCount += 1;
      if (failedCount > this.#copyCount - needed) fail(error);
      if (isSettled || durableCount < needed) return;
      isSettled = true;
      timer.cancel();
      this.#image = image;
      this.#retryLater();
      resolve();
    };
    if (this.#slots.length < needed) fail(undefined);
    else for (const slot of this.#slots) this.#send(slot, delta, image, onDone);
    return promise;
  }

  #send(
    slot: Slot,
    delta: ControlDelta | undefined,
    image: ControlImage,
    onDone: (error: unknown) => void,
  ): void {
    if (slot.isBusy) {
      slot.next = () => this.#send(slot, delta, image, onDone);
      return;
    }
    const isCurrent = slot.heldRevision === this.#image.revision;
    slot.isBusy = true;
    slot.heldRevision = undefined;
    const call =
      isCurrent && delta !== undefined ? slot.copy.apply(delta) : slot.copy.replace(image);
    const onSettled = (error: unknown): void => {
      slot.isBusy = false;
      if (error === undefined) slot.heldRevision = image.revision;
      if (error !== undefined && isCurrent) this.#onCopyEvent?.(slot.copy.name, 'behind', error);
      if (error === undefined && !isCurrent) this.#onCopyEvent?.(slot.copy.name, 'current');
      onDone(error);
      const next = slot.next;
      slot.next = undefined;
      next?.();
    };
    call.then(
      () => onSettled(undefined),
      (error: unknown) => onSettled(error ?? new Error('failed without a reason')),
    );
  }

  /** Copies that are behind get the whole image now and then, not only at the next change. */
  #retryLater(): void {
    if (this.#isClosed || this.#retryTimer !== undefined) return;
    this.#retryTimer = this.#clock.setTimer(STALE_COPY_RETRY_MS, () => {
      this.#retryTimer = undefined;
      let isOneBehind = false;
      for (const slot of this.#slots) {
        if (slot.heldRevision === this.#image.revision) continue;
        isOneBehind = true;
        if (!slot.isBusy) this.#send(slot, undefined, this.#image, () => {});
      }
      if (isOneBehind) this.#retryLater();
    });
  }

  #stop(): void {
    this.#isClosed = true;
    this.#retryTimer?.cancel();
  }

  /** A copy whose disk hangs is left as it is. */
  async close(): Promise<void> {
    this.#stop();
    for (const slot of this.#slots) {
      if (!slot.isBusy) await slot.copy.close();
    }
  }
}
