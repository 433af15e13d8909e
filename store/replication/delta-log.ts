/**
 * Which blocks changed while one node was away, so that it is sent no more when it returns.
 *
 * Owns: for each changed object the version from which on its changes are known, and those blocks.
 * Does not own: what the node really has; its versions are listed when it returns.
 * Invariants: every write from `since` on is in the set, also one that failed. An entry is used
 * only if the node has exactly `since`, or the one write that was on its way to it when it was
 * lost. Losing an entry costs a copy of the whole object and nothing else; `DELTA_OBJECTS_MAX`
 * bounds them.
 */
import { compareVersions, type Version, type WriteRequest } from '../engine/store-node.ts';
import { addExtents, type BlockSet, emptyBlockSet } from './block-set.ts';
import { DELTA_OBJECTS_MAX } from './limits.ts';

interface Delta {
  readonly since: Version;
  /** What the node may have applied, although it did not say so. */
  readonly unanswered: Version | undefined;
  readonly changedBlocks: BlockSet;
}

export class DeltaLog {
  readonly #blockCount: number;
  readonly #deltas = new Map<number, Delta>();

  constructor(blocksPerObject: number) {
    this.#blockCount = blocksPerObject;
  }

  /** Objects that are known to have changed. */
  get count(): number {
    return this.#deltas.size;
  }

  has(objectIndex: number): boolean {
    return this.#deltas.has(objectIndex);
  }

  /** Notes a write that the node does not get, or that it was sent and did not answer. */
  addWrite({ objectIndex, base, target, extents }: WriteRequest, wasSent: boolean): void {
    let delta = this.#deltas.get(objectIndex);
    if (delta === undefined) {
      if (this.#deltas.size >= DELTA_OBJECTS_MAX) return;
      const changedBlocks = emptyBlockSet(this.#blockCount);
      delta = { since: base, unanswered: wasSent ? target : undefined, changedBlocks };
      this.#deltas.set(objectIndex, delta);
    }
    addExtents(delta.changedBlocks, extents);
  }

  delete(objectIndex: number): void {
    this.#deltas.delete(objectIndex);
  }

  clear(): void {
    this.#deltas.clear();
  }

  /** What changed since `version`, or `undefined` where that is not known. */
  changedSince(objectIndex: number, version: Version): BlockSet | undefined {
    const delta = this.#deltas.get(objectIndex);
    if (delta === undefined) return undefined;
    const { since, unanswered, changedBlocks } = delta;
    const isKnown =
      compareVersions(version, since) === 0 ||
      (unanswered !== undefined && compareVersions(version, unanswered) === 0);
    return isKnown ? changedBlocks : undefined;
  }
}
