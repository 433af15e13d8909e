/**
 * Copies of single objects from one replica to another.
 *
 * Owns: the choice of a source, the delta, and what to do when a source cannot be read. Does not
 * own: when to copy; the caller holds the object's gate, so its version does not change meanwhile.
 */
import type { Version } from '../engine/store-node.ts';
import { DroverError, isDroverError } from '../runtime/drover-error.ts';
import type { BlockSet } from './block-set.ts';
import { COPY_LIMIT_MS } from './limits.ts';
import type { Replica } from './replica.ts';
import { objectKey, type VolumeContext } from './volume-context.ts';
import { withLimit } from './with-limit.ts';

export interface ObjectCopy {
  readonly objectIndex: number;
  readonly version: Version;
  /** Who has this version; at least one. */
  readonly sources: readonly Replica[];
  readonly target: Replica;
  /** What changed between the version that the target has and `version`, where that is known. */
  readonly delta?: { readonly base: Version; readonly changedBlocks: BlockSet } | undefined;
}

export class ObjectCopier {
  readonly #context: VolumeContext;
  readonly #heal: (objectIndex: number) => Promise<void>;

  /** `heal` reads an object whole and repairs the copies that cannot be read. */
  constructor(context: VolumeContext, heal: (objectIndex: number) => Promise<void>) {
    this.#context = context;
    this.#heal = heal;
  }

  /**
   * Resolves to the payload bytes sent. Errors: those of `ReplicaNode.copyObject`; `corrupt` only
   * when the object has a block that no copy can be read of.
   */
  async copy(order: ObjectCopy): Promise<number> {
    try {
      return await this.#copyHealing(order);
    } catch (error) {
      // The target has another version than it listed: copy over whatever it has.
      if (order.delta === undefined || !isDroverError(error, 'conflict')) throw error;
      return this.#copyHealing({ ...order, delta: undefined });
    }
  }

  async #copyHealing(order: ObjectCopy): Promise<number> {
    try {
      return await this.#copyFromAny(order);
    } catch (error) {
      if (!isDroverError(error, 'corrupt')) throw error;
      await this.#heal(order.objectIndex);
      return this.#copyFromAny(order);
    }
  }

  async #copyFromAny(order: ObjectCopy): Promise<number> {
    const sources = [...order.sources].sort((a, b) => a.latency.score - b.latency.score);
    let failure: unknown = new DroverError('unavailable', 'there is no copy to copy from');
    for (const source of sources) {
      try {
        return await this.#copyFrom(order, source);
      } catch (error) {
        this.#noteFenced(error, order.target);
        failure = error;
        if (!isDroverError(error, 'unavailable') && !isDroverError(error, 'corrupt')) throw error;
      }
    }
    throw failure;
  }

  async #copyFrom(order: ObjectCopy, source: Replica): Promise<number> {
    const { clock, lease, volumeId, blocksPerObject } = this.#context;
    const { target } = order;
    const result = await withLimit(
      clock,
      COPY_LIMIT_MS,
      `copying object ${order.objectIndex} from ${source.nodeId} to ${target.nodeId}`,
      target.link.node.copyObject({
        ...objectKey(this.#context, order.objectIndex),
        volumeId,
        epoch: lease.epoch,
        version: order.version,
        blockCount: blocksPerObject,
        sourceNodeId: source.nodeId,
        ...(order.delta === undefined ? {} : { delta: order.delta }),
      }),
    );
    return result.receivedBytes;
  }

  #noteFenced(error: unknown, target: Replica): void {
    if (!isDroverError(error, 'fenced')) return;
    this.#context.stats.refusedEpochs += 1;
    this.#context.lease.lose(`node ${target.nodeId} was told a higher epoch`);
  }
}
