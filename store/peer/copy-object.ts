/**
 * Copying an object straight from one node to another.
 *
 * Owns: reading the source in bounded pieces, checking every block, and giving the whole to the
 * local node at once; and `copyingNode`, which puts this behind the `ReplicaNode` interface for a
 * node that is served or used in the same process. Does not own: which copy is the right one, how
 * many copies run at once, or at what rate (replication does).
 *
 * Invariants: the local node changes once, durably and whole, by `install` or by one `write` on
 * the exact base; never with bytes that do not match their checksums, nor with a mixture of
 * versions: each piece is read with the expected version. A copy that took so long that it was
 * given up, and the object was copied again or written since, changes nothing any more: it installs
 * only over the version that was here when it began. What is held is one object at most.
 */
import type {
  CopyRequest,
  CopyResult,
  InstallRequest,
  ObjectDescription,
  ReplicaNode,
} from '../engine/replica-node.ts';
import { BlockKind, compareVersions, type Extent, type Version } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import type { Clock } from '../runtime/clock.ts';
import { DroverError, isDroverError } from '../runtime/drover-error.ts';
import { badBlock } from './block-places.ts';
import { BufferPool } from './buffer-pool.ts';
import { COPY_ANSWER_LIMIT_MS, COPY_PIECE_BYTES, COPY_POOLED_BYTES_MAX } from './limits.ts';

/** For the copies of all nodes of this process. */
const pool = new BufferPool(COPY_POOLED_BYTES_MAX);

/** How a node reaches another; undefined if no such node is known. */
export type NodeResolver = (nodeId: string) => ReplicaNode | undefined;

/** A node, but for the fetching from others. */
export interface CopyTarget extends Omit<ReplicaNode, 'copyObject' | 'install'> {
  /** As `ReplicaNode.install`; with `over` only over exactly this version, or else `conflict`. */
  install(request: InstallRequest, over?: Version): Promise<void>;
}

export interface CopyOptions {
  readonly clock: Clock;
  /** The source is `unavailable` when it leaves a question unanswered for this long. */
  readonly answerLimitMs?: number;
}

/**
 * Makes `local` have the object as `source` has it; see `ReplicaNode.copyObject` for the rules.
 * Errors: `conflict` (the source does not have the version, or `local` not the delta's base),
 * `unavailable` and `corrupt` (the source cannot be read), those of `install` and `write`.
 */
export async function copyObject(
  local: CopyTarget,
  source: ReplicaNode,
  request: CopyRequest,
  options: CopyOptions,
): Promise<CopyResult> {
  const { layerId, objectIndex, volumeId, epoch, version, blockCount } = request;
  // A write names at least one block: where none changed, the whole object is copied.
  const delta = request.delta?.changedBlocks.some((bits) => bits !== 0) ? request.delta : undefined;
  const object = { layerId, objectIndex, volumeId, epoch };
  const { version: over } = await local.describeObject(object, 0);
  const described = await limited(source.describeObject(object, blockCount), source, options);
  if (compareVersions(described.version, version) !== 0) {
    const { epoch: has, seq } = described.version;
    throw new DroverError('conflict', `node ${source.nodeId} has the object at ${has}.${seq}`);
  }
  const extents = extentsOf(described.kinds, delta?.changedBlocks);
  const payload: Buffer[] = [];
  try {
    await readData(source, request, described, extents, payload, options);
    if (delta === undefined) {
      const { kinds, blockCrcs } = described;
      await local.install({ ...object, version, kinds, blockCrcs, payload }, over);
    } else {
      const blockCrcs = crcsOf(described, extents);
      const { base } = delta;
      await local.write({ ...object, base, target: version, extents, blockCrcs, payload });
    }
  } catch (error) {
    // A source that answers late writes into it, and a node that failed may still have it.
    pool.lose(payload);
    throw error;
  }
  let receivedBytes = 0;
  for (const buffer of payload) receivedBytes += buffer.length;
  pool.give(payload);
  return { receivedBytes };
}

/** Runs of blocks of one kind: of the whole object, or of the blocks whose bit is set. */
function extentsOf(kinds: Uint8Array, changedBlocks: Uint8Array | undefined): Extent[] {
  const extents: Extent[] = [];
  let open: { startBlock: number; blockCount: number; kind: BlockKind } | undefined;
  for (let block = 0; block < kinds.length; block += 1) {
    const kind = kinds[block] as BlockKind;
    const wanted =
      changedBlocks === undefined || (changedBlocks[block >> 3]! & (1 << (block & 7))) !== 0;
    if (!wanted) {
      open = undefined;
    } else if (open?.kind === kind) {
      open.blockCount += 1;
    } else {
      open = { startBlock: block, blockCount: 1, kind };
      extents.push(open);
    }
  }
  return extents;
}

/** The stored checksums of the data blocks of `extents`, in their order. */
function crcsOf(described: ObjectDescription, extents: readonly Extent[]): Uint32Array {
  const crcs: number[] = [];
  for (const { startBlock, blockCount, kind } of extents) {
    if (kind !== BlockKind.data) continue;
    for (const crc of described.blockCrcs.subarray(startBlock, startBlock + blockCount)) {
      crcs.push(crc);
    }
  }
  return Uint32Array.from(crcs);
}

/**
 * Adds the bytes of the data blocks of `extents` to `payload`, checked, read in pieces of up to
 * `COPY_PIECE_BYTES`. What is there when it fails may still be written to.
 */
async function readData(
  source: ReplicaNode,
  request: CopyRequest,
  described: ObjectDescription,
  extents: readonly Extent[],
  payload: Buffer[],
  options: CopyOptions,
): Promise<void> {
  const { layerId, objectIndex, version } = request;
  const pieceBlocks = COPY_PIECE_BYTES / BLOCK_BYTES;
  for (const extent of extents) {
    if (extent.kind !== BlockKind.data) continue;
    const endBlock = extent.startBlock + extent.blockCount;
    for (let startBlock = extent.startBlock; startBlock < endBlock; startBlock += pieceBlocks) {
      const blockCount = Math.min(pieceBlocks, endBlock - startBlock);
      const held = payload.length;
      pool.take(blockCount * BLOCK_BYTES, payload);
      const piece = payload.slice(held);
      const range = { layerId, objectIndex, expected: version, startBlock, blockCount };
      const read = await limited(source.read(range, piece), source, options);
      const crcs = described.blockCrcs.subarray(startBlock, startBlock + blockCount);
      const bad = badBlock(piece, crcs);
      if (bad >= 0 || !read.kinds.every((kind) => kind === BlockKind.data)) {
        const block = startBlock + Math.max(bad, 0);
        throw new DroverError(
          'corrupt',
          `node ${source.nodeId}: block ${block} of object ${objectIndex} of layer ${layerId} ` +
            'is not what it says it has',
        );
      }
    }
  }
}

/** The answer of the source, or `unavailable`; a failure of it that has no kind is that too. */
async function limited<T>(
  answer: Promise<T>,
  source: ReplicaNode,
  options: CopyOptions,
): Promise<T> {
  const limitMs = options.answerLimitMs ?? COPY_ANSWER_LIMIT_MS;
  const late = Promise.withResolvers<never>();
  const timer = options.clock.setTimer(limitMs, () => {
    late.reject(
      new DroverError('unavailable', `node ${source.nodeId} does not answer within ${limitMs} ms`),
    );
  });
  try {
    return await Promise.race([answer, late.promise]);
  } catch (error) {
    if (isDroverError(error)) throw error;
    throw new DroverError('unavailable', `node ${source.nodeId} failed`, error);
  } finally {
    timer.cancel();
  }
}

/**
 * `node` with `copyObject` fetching from the nodes that `resolve` knows; for the node that a
 * `PeerServer` serves as well as for one used in the same process.
 */
export function copyingNode(
  node: CopyTarget,
  resolve: NodeResolver,
  options: CopyOptions,
): ReplicaNode {
  return {
    nodeId: node.nodeId,
    write: (request) => node.write(request),
    read: (request, into) => node.read(request, into),
    map: (key, blockCount) => node.map(key, blockCount),
    listVersions: (layerId, fromObjectIndex, limit) =>
      node.listVersions(layerId, fromObjectIndex, limit),
    adoptEpoch: (volumeId, epoch) => node.adoptEpoch(volumeId, epoch),
    removeLayer: (layerId) => node.removeLayer(layerId),
    install: (request) => node.install(request),
    removeObject: (request) => node.removeObject(request),
    repair: (request) => node.repair(request),
    describeObject: (key, blockCount) => node.describeObject(key, blockCount),
    space: () => node.space(),
    listLayers: () => node.listLayers(),
    async copyObject(request) {
      const source = resolve(request.sourceNodeId);
      if (source === undefined) {
        throw new DroverError('unavailable', `node ${request.sourceNodeId} is not known here`);
      }
      return copyObject(node, source, request, options);
    },
  };
}
