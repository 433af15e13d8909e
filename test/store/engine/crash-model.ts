/**
 * What a store node must still know after a crash, as plainly as it can be said.
 *
 * Owns: for each object, the states that were asked for since the last one that is certain. An
 * acknowledged change makes all before it certain; after a crash the node may be at the certain
 * state or any one asked for after it.
 */
import assert from 'node:assert';
import type { Version } from '../../../store/engine/store-node.ts';
import { type BlockChange, HOLE } from './sample-blocks.ts';

export const OBJECT_BLOCKS = 12;

export interface ObjectState {
  readonly version: Version;
  readonly blocks: readonly number[];
}

const ABSENT: ObjectState = {
  version: { epoch: 0, seq: 0 },
  blocks: new Array<number>(OBJECT_BLOCKS).fill(HOLE),
};

export function sameVersion(a: Version, b: Version): boolean {
  return a.epoch === b.epoch && a.seq === b.seq;
}

export class ModelObject {
  readonly layerId: number;
  readonly objectIndex: number;
  certain: ObjectState = ABSENT;
  /** Asked for and neither acknowledged nor refused, in order. */
  pending: ObjectState[] = [];
  #highestSeq = 0;

  constructor(layerId: number, objectIndex: number) {
    this.layerId = layerId;
    this.objectIndex = objectIndex;
  }

  get newest(): ObjectState {
    return this.pending.at(-1) ?? this.certain;
  }

  /** A version that no state of the object had. */
  nextVersion(epoch: number): Version {
    this.#highestSeq += 1;
    return { epoch, seq: this.#highestSeq };
  }

  write(target: Version, changes: readonly BlockChange[]): ObjectState {
    const blocks = [...this.newest.blocks];
    for (const { block, content } of changes) blocks[block] = content;
    return this.#ask({ version: target, blocks });
  }

  replace(target: Version, blocks: readonly number[]): ObjectState {
    return this.#ask({ version: target, blocks });
  }

  remove(): ObjectState {
    return this.#ask({ ...ABSENT });
  }

  acknowledge(state: ObjectState): void {
    const index = this.pending.indexOf(state);
    // A later one may have been acknowledged first: their promises settle in one turn.
    if (index < 0) return;
    this.certain = state;
    this.pending.splice(0, index + 1);
  }

  refuse(state: ObjectState): void {
    this.pending = this.pending.filter((other) => other !== state);
  }

  /** The state found after a crash must be one of those that may be; it is certain from then on. */
  settle(version: Version, blocks: readonly number[]): void {
    const possible = [this.certain, ...this.pending];
    const found = possible.find(
      (state) => sameVersion(state.version, version) && String(state.blocks) === String(blocks),
    );
    assert(
      found !== undefined,
      `object ${this.objectIndex} of layer ${this.layerId} is at ${JSON.stringify(version)} ` +
        `[${blocks}], which is none of ${JSON.stringify(possible)}`,
    );
    this.certain = found;
    this.pending = [];
  }

  #ask(state: ObjectState): ObjectState {
    this.pending.push(state);
    return state;
  }
}
