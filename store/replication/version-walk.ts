/**
 * Walking the versions of a volume's objects on one or several nodes.
 *
 * Owns: paging through a node's list, merging lists in the order of the objects. Holds one page of
 * each node at a time, so its memory does not grow with the volume.
 */
import type { ReplicaNode } from '../engine/replica-node.ts';
import { VERSION_NONE, type Version, type VersionPage } from '../engine/store-node.ts';
import type { Clock } from '../runtime/clock.ts';
import { DroverError } from '../runtime/drover-error.ts';
import { VERSION_PAGE_OBJECTS } from './limits.ts';
import type { VersionTable } from './version-table.ts';
import { withLimit } from './with-limit.ts';

/** A node's list could not be read to its end. */
export class ListingFailed extends DroverError {
  readonly node: ReplicaNode;

  constructor(node: ReplicaNode, cause: unknown) {
    super('unavailable', `the objects of node ${node.nodeId} cannot be listed`, cause);
    this.node = node;
  }
}

export interface WalkLimits {
  readonly clock: Clock;
  /** Each page has to be answered within this time. */
  readonly answerLimitMs: number;
}

/** A place in one node's list, that only moves forward. */
class VersionCursor {
  readonly #node: ReplicaNode;
  readonly #layerId: number;
  readonly #limits: WalkLimits;
  #page: VersionPage | undefined;
  #at = 0;
  /** The index of the object that the cursor is at; `Infinity` behind the last. */
  objectIndex = -1;

  constructor(node: ReplicaNode, layerId: number, limits: WalkLimits) {
    this.#node = node;
    this.#layerId = layerId;
    this.#limits = limits;
  }

  /** Whether the next object is known without asking the node. */
  get isReady(): boolean {
    const page = this.#page;
    return page !== undefined && (this.#at + 1 < page.count || page.count < VERSION_PAGE_OBJECTS);
  }

  get version(): Version {
    const page = this.#page!;
    return { epoch: page.epochs[this.#at]!, seq: page.seqs[this.#at]! };
  }

  advance(): void {
    this.#at += 1;
    this.#settle();
  }

  async advanceAsking(): Promise<void> {
    const fromObjectIndex = this.objectIndex + 1;
    const { clock, answerLimitMs } = this.#limits;
    const page = this.#node.listVersions(this.#layerId, fromObjectIndex, VERSION_PAGE_OBJECTS);
    try {
      this.#page = await withLimit(clock, answerLimitMs, 'a list of objects', page);
    } catch (error) {
      throw new ListingFailed(this.#node, error);
    }
    this.#at = 0;
    this.#settle();
  }

  #settle(): void {
    const page = this.#page!;
    this.objectIndex =
      this.#at < page.count ? page.objectIndexes[this.#at]! : Number.POSITIVE_INFINITY;
  }
}

/**
 * Calls `visit` for every object that one of the nodes has, in ascending order, with its version on
 * each node. The array is used again for the next object. Error: `ListingFailed`.
 */
export async function walkVersions(
  nodes: readonly ReplicaNode[],
  layerId: number,
  limits: WalkLimits,
  visit: (objectIndex: number, versions: readonly Version[]) => void,
): Promise<void> {
  const cursors = nodes.map((node) => new VersionCursor(node, layerId, limits));
  const versions: Version[] = nodes.map(() => VERSION_NONE);
  await Promise.all(cursors.map((cursor) => cursor.advanceAsking()));
  for (;;) {
    let next = Number.POSITIVE_INFINITY;
    for (const cursor of cursors) next = Math.min(next, cursor.objectIndex);
    if (next === Number.POSITIVE_INFINITY) return;
    for (let index = 0; index < cursors.length; index++) {
      const cursor = cursors[index]!;
      versions[index] = cursor.objectIndex === next ? cursor.version : VERSION_NONE;
    }
    visit(next, versions);
    for (const cursor of cursors) {
      if (cursor.objectIndex !== next) continue;
      if (cursor.isReady) cursor.advance();
      else await cursor.advanceAsking();
    }
  }
}

/**
 * Calls `visit` for every object that the node or the table has, in ascending order, with its
 * version on the node. Objects that appear in the table behind the walk are not visited.
 * Error: `ListingFailed`.
 */
export async function walkAgainstTable(
  node: ReplicaNode,
  layerId: number,
  table: VersionTable,
  limits: WalkLimits,
  visit: (objectIndex: number, version: Version) => void,
): Promise<void> {
  let from = 0;
  const visitMissing = (endExclusive: number) => {
    for (let index = table.nextIndex(from); index >= 0 && index < endExclusive; ) {
      visit(index, VERSION_NONE);
      index = table.nextIndex(index + 1);
    }
  };
  await walkVersions([node], layerId, limits, (objectIndex, versions) => {
    visitMissing(objectIndex);
    visit(objectIndex, versions[0]!);
    from = objectIndex + 1;
  });
  visitMissing(Number.POSITIVE_INFINITY);
}
