/**
 * Every message but write, read and the greeting: requests that come once for an object or less.
 *
 * Owns: how each operation's request and answer become meta and payload and back, and refusing
 * what does not add up. Does not own: when they are sent, or the frame around them.
 * Written for the reader: these allocate freely. Layouts are in `cold-layouts.ts`.
 */
import { crc32 } from '@node-rs/crc32';
import type {
  CopyRequest,
  CopyResult,
  InstallRequest,
  LeaseScope,
  NodeSpace,
  ObjectDescription,
  RepairRequest,
  ReplicaNode,
} from '../engine/replica-node.ts';
import { BlockKind, type ObjectKey, type VersionPage } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import { DroverError } from '../runtime/drover-error.ts';
import { badBlock } from './block-places.ts';
import * as layouts from './cold-layouts.ts';
import { dataBlocksIn, isBlockKind, putCrcs, takeCrcs } from './hot-messages.ts';
import { LAYERS_MAX, NAME_BYTES_MAX, OBJECT_BLOCKS_MAX, VERSION_PAGE_MAX } from './limits.ts';
import { MessageType } from './wire.ts';

export interface Message {
  readonly meta: Buffer;
  readonly payload: readonly Buffer[];
}

/** One operation of a node, as it travels. All decoders throw `invalid` for what makes no sense. */
export interface Operation<Request, Answer> {
  readonly type: MessageType;
  readonly name: string;
  encodeRequest(request: Request): Message;
  /**
   * `payload` is of whole blocks, and the request's until `run` has ended. `corrupt` if block data
   * does not match its checksums.
   */
  decodeRequest(meta: Buffer, payload: readonly Buffer[]): Request;
  run(node: ReplicaNode, request: Request): Promise<Answer>;
  encodeAnswer(answer: Answer): Message;
  /** `payload` is a buffer of its own. */
  decodeAnswer(meta: Buffer, payload: Buffer, request: Request): Answer;
  /** Bytes that the answer, or the work for it, may hold besides the request's payload. */
  extraBytes(request: Request): number;
}

const NOTHING = Buffer.alloc(0);
const EMPTY: Message = { meta: NOTHING, payload: [] };

function invalid(what: string): never {
  throw new DroverError('invalid', what);
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) invalid(what);
}

/** The bytes of an array of numbers, without a copy. */
function bytesOf(array: Uint32Array | Float64Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

function bytesIn(buffers: readonly Buffer[]): number {
  let bytes = 0;
  for (const buffer of buffers) bytes += buffer.length;
  return bytes;
}

function blockCountOf(count: number): number {
  check(count > 0 && count <= OBJECT_BLOCKS_MAX, `${count} blocks in an object`);
  return count;
}

function kindsFrom(bytes: Buffer): Uint8Array {
  for (const kind of bytes) check(isBlockKind(kind), `unknown kind of block ${kind}`);
  return new Uint8Array(bytes);
}

function crcBytes(crcs: Uint32Array): Buffer {
  const bytes = Buffer.allocUnsafe(crcs.length * 4);
  putCrcs(bytes, 0, crcs);
  return bytes;
}

/** Splits a meta into its fixed part and the rest, whose length the caller checks. */
function restOf(meta: Buffer, fixedBytes: number): Buffer {
  check(meta.length >= fixedBytes, 'a message that is cut short');
  return meta.subarray(fixedBytes);
}

function message<T extends object>(
  layout: layouts.FixedLayout<T>,
  fields: T,
  rest: readonly Buffer[] = [],
  payload: readonly Buffer[] = [],
): Message {
  return { meta: Buffer.concat([layouts.encode(layout, fields), ...rest]), payload };
}

const noAnswer = {
  encodeAnswer: (): Message => EMPTY,
  decodeAnswer(meta: Buffer, payload: Buffer): void {
    check(meta.length === 0 && payload.length === 0, 'an answer with a body');
  },
  extraBytes: () => 0,
};

export const mapOperation: Operation<{ key: ObjectKey; blockCount: number }, Uint8Array> = {
  type: MessageType.map,
  name: 'map',
  encodeRequest: ({ key, blockCount }) => message(layouts.object, { ...key, blockCount }),
  decodeRequest(meta) {
    const { layerId, objectIndex, blockCount } = layouts.decode(layouts.object, meta);
    return { key: { layerId, objectIndex }, blockCount: blockCountOf(blockCount) };
  },
  run: (node, { key, blockCount }) => node.map(key, blockCount),
  encodeAnswer: (kinds) => ({ meta: Buffer.from(kinds), payload: [] }),
  decodeAnswer(meta, _payload, { blockCount }) {
    check(meta.length === blockCount, 'a map of another size');
    return kindsFrom(meta);
  },
  extraBytes: ({ blockCount }) => blockCount,
};

export interface ListVersionsRequest {
  readonly layerId: number;
  readonly fromObjectIndex: number;
  /** Up to `VERSION_PAGE_MAX`. */
  readonly limit: number;
}

export const listVersionsOperation: Operation<ListVersionsRequest, VersionPage> = {
  type: MessageType.listVersions,
  name: 'listVersions',
  encodeRequest: (request) => message(layouts.listVersions, { ...request }),
  decodeRequest(meta) {
    const request = layouts.decode(layouts.listVersions, meta);
    check(request.limit > 0 && request.limit <= VERSION_PAGE_MAX, `a page of ${request.limit}`);
    return request;
  },
  run: (node, { layerId, fromObjectIndex, limit }) =>
    node.listVersions(layerId, fromObjectIndex, limit),
  encodeAnswer({ count, seqs, objectIndexes, epochs }) {
    const payload = Buffer.concat([
      bytesOf(seqs.subarray(0, count)),
      bytesOf(objectIndexes.subarray(0, count)),
      bytesOf(epochs.subarray(0, count)),
    ]);
    return message(layouts.list, { count, payloadCrc: crc32(payload) }, [], [payload]);
  },
  decodeAnswer(meta, payload, { limit }) {
    const { count, payloadCrc } = layouts.decode(layouts.list, meta);
    check(count <= limit && payload.length === count * 16, `a page of ${count} entries`);
    check(crc32(payload) === payloadCrc, 'a page of versions that does not match its checksum');
    const { buffer, byteOffset } = payload;
    return {
      count,
      seqs: new Float64Array(buffer, byteOffset, count),
      objectIndexes: new Uint32Array(buffer, byteOffset + count * 8, count),
      epochs: new Uint32Array(buffer, byteOffset + count * 12, count),
    };
  },
  extraBytes: ({ limit }) => limit * 16,
};

export const adoptEpochOperation: Operation<LeaseScope, void> = {
  ...noAnswer,
  type: MessageType.adoptEpoch,
  name: 'adoptEpoch',
  encodeRequest: ({ volumeId, epoch }) => message(layouts.lease, { volumeId, epoch }),
  decodeRequest: (meta) => layouts.decode(layouts.lease, meta),
  run: (node, { volumeId, epoch }) => node.adoptEpoch(volumeId, epoch),
};

export const removeLayerOperation: Operation<{ layerId: number }, void> = {
  ...noAnswer,
  type: MessageType.removeLayer,
  name: 'removeLayer',
  encodeRequest: ({ layerId }) => message(layouts.layer, { layerId }),
  decodeRequest: (meta) => layouts.decode(layouts.layer, meta),
  run: (node, { layerId }) => node.removeLayer(layerId),
};

export const removeObjectOperation: Operation<ObjectKey & LeaseScope, void> = {
  ...noAnswer,
  type: MessageType.removeObject,
  name: 'removeObject',
  encodeRequest: ({ volumeId, epoch, layerId, objectIndex }) =>
    message(layouts.removeObject, { volumeId, epoch, layerId, objectIndex }),
  decodeRequest: (meta) => layouts.decode(layouts.removeObject, meta),
  run: (node, request) => node.removeObject(request),
};

export const copyObjectOperation: Operation<CopyRequest, CopyResult> = {
  type: MessageType.copyObject,
  name: 'copyObject',
  encodeRequest(request) {
    const { delta } = request;
    const source = Buffer.from(request.sourceNodeId, 'utf8');
    check(source.length <= NAME_BYTES_MAX, 'the name of the source is too long');
    const base = delta?.base ?? { epoch: 0, seq: 0 };
    const fields: layouts.CopyFields = {
      ...layouts.change(request, request.version),
      blockCount: request.blockCount,
      ...layouts.baseHalves(base),
      sourceBytes: source.length,
      isDelta: delta === undefined ? 0 : 1,
    };
    return message(layouts.copy, fields, [source, Buffer.from(delta?.changedBlocks ?? NOTHING)]);
  },
  decodeRequest(meta) {
    const fields = layouts.decodeFront(layouts.copy, meta);
    const rest = restOf(meta, layouts.copy.span);
    const { sourceBytes, isDelta } = fields;
    const blockCount = blockCountOf(fields.blockCount);
    const bitmapBytes = isDelta === 1 ? Math.ceil(blockCount / 8) : 0;
    check(isDelta <= 1 && sourceBytes <= NAME_BYTES_MAX, 'a copy of unknown form');
    check(rest.length === sourceBytes + bitmapBytes, 'a copy of wrong length');
    const whole = {
      ...layouts.changeOf(fields),
      blockCount,
      sourceNodeId: rest.toString('utf8', 0, sourceBytes),
    };
    if (isDelta === 0) return whole;
    const changedBlocks = new Uint8Array(rest.subarray(sourceBytes));
    return { ...whole, delta: { base: layouts.baseOf(fields), changedBlocks } };
  },
  run: (node, request) => node.copyObject(request),
  encodeAnswer: ({ receivedBytes }) => message(layouts.copied, { receivedBytes }),
  decodeAnswer: (meta) => layouts.decode(layouts.copied, meta),
  extraBytes: ({ blockCount }) => blockCount * BLOCK_BYTES,
};

export const installOperation: Operation<InstallRequest, void> = {
  ...noAnswer,
  type: MessageType.install,
  name: 'install',
  encodeRequest(request) {
    const { kinds, blockCrcs } = request;
    const fields: layouts.InstallFields = {
      ...layouts.change(request, request.version),
      blockCount: kinds.length,
      reserved: 0,
    };
    const rest = [Buffer.from(kinds), crcBytes(blockCrcs)];
    return message(layouts.install, fields, rest, request.payload);
  },
  decodeRequest(meta, payload) {
    const fields = layouts.decodeFront(layouts.install, meta);
    const rest = restOf(meta, layouts.install.span);
    const count = blockCountOf(fields.blockCount);
    check(rest.length === count * 5, 'an install of wrong length');
    const kinds = kindsFrom(rest.subarray(0, count));
    const blockCrcs = takeCrcs(rest, count, count);
    const dataBlocks = dataBlocksIn(kinds);
    check(bytesIn(payload) === dataBlocks * BLOCK_BYTES, 'an install of other data than it says');
    const ofData = blockCrcs.filter((_, block) => kinds[block] === BlockKind.data);
    checkBlocks(payload, ofData);
    return { ...layouts.changeOf(fields), kinds, blockCrcs, payload };
  },
  run: (node, request) => node.install(request),
};

export const repairOperation: Operation<RepairRequest, void> = {
  ...noAnswer,
  type: MessageType.repair,
  name: 'repair',
  encodeRequest(request) {
    const fields: layouts.RepairFields = {
      ...layouts.change(request, request.version),
      startBlock: request.startBlock,
      blockCount: request.blockCrcs.length,
    };
    return message(layouts.repair, fields, [crcBytes(request.blockCrcs)], request.payload);
  },
  decodeRequest(meta, payload) {
    const fields = layouts.decodeFront(layouts.repair, meta);
    const rest = restOf(meta, layouts.repair.span);
    const { startBlock } = fields;
    const count = blockCountOf(fields.blockCount);
    check(startBlock + count <= OBJECT_BLOCKS_MAX, 'a repair beyond the object');
    check(rest.length === count * 4, 'a repair of wrong length');
    check(bytesIn(payload) === count * BLOCK_BYTES, 'a repair of other data than it says');
    const blockCrcs = takeCrcs(rest, 0, count);
    checkBlocks(payload, blockCrcs);
    return { ...layouts.changeOf(fields), startBlock, blockCrcs, payload };
  },
  run: (node, request) => node.repair(request),
};

export const describeOperation: Operation<
  { key: ObjectKey; blockCount: number },
  ObjectDescription
> = {
  type: MessageType.describeObject,
  name: 'describeObject',
  encodeRequest: mapOperation.encodeRequest,
  decodeRequest: mapOperation.decodeRequest,
  run: (node, { key, blockCount }) => node.describeObject(key, blockCount),
  encodeAnswer({ version, kinds, blockCrcs }) {
    const fields = layouts.versionHalves(version);
    return message(layouts.version, fields, [Buffer.from(kinds), crcBytes(blockCrcs)]);
  },
  decodeAnswer(meta, _payload, { blockCount }) {
    const version = layouts.versionOf(layouts.decodeFront(layouts.version, meta));
    const rest = restOf(meta, layouts.version.span);
    check(rest.length === blockCount * 5, 'a description of another size');
    const kinds = kindsFrom(rest.subarray(0, blockCount));
    return { version, kinds, blockCrcs: takeCrcs(rest, blockCount, blockCount) };
  },
  extraBytes: ({ blockCount }) => blockCount * 5,
};

/** The request of an operation that has nothing to say. */
const noRequest = {
  encodeRequest: (): Message => EMPTY,
  decodeRequest(meta: Buffer): void {
    check(meta.length === 0, 'a request with a body');
  },
};

export const spaceOperation: Operation<void, NodeSpace> = {
  ...noRequest,
  type: MessageType.space,
  name: 'space',
  run: (node) => node.space(),
  encodeAnswer: ({ capacityBytes, liveBytes, freeBytes, objectCount }) =>
    message(layouts.space, { capacityBytes, liveBytes, freeBytes, objectCount }),
  decodeAnswer: (meta) => layouts.decode(layouts.space, meta),
  extraBytes: () => 0,
};

export const listLayersOperation: Operation<void, number[]> = {
  ...noRequest,
  type: MessageType.listLayers,
  name: 'listLayers',
  run: (node) => node.listLayers(),
  encodeAnswer(layers) {
    check(layers.length <= LAYERS_MAX, `${layers.length} layers`);
    const payload = bytesOf(Float64Array.from(layers));
    const count = layers.length;
    return message(layouts.list, { count, payloadCrc: crc32(payload) }, [], [payload]);
  },
  decodeAnswer(meta, payload) {
    const { count, payloadCrc } = layouts.decode(layouts.list, meta);
    check(payload.length === count * 8, `a list of ${count} layers`);
    check(crc32(payload) === payloadCrc, 'a list of layers that does not match its checksum');
    return Array.from(new Float64Array(payload.buffer, payload.byteOffset, count));
  },
  extraBytes: () => 0,
};

function checkBlocks(payload: readonly Buffer[], blockCrcs: Uint32Array): void {
  const bad = badBlock(payload, blockCrcs);
  if (bad >= 0) {
    throw new DroverError('corrupt', `data block ${bad} was received with another checksum`);
  }
}

/** An operation whose request and answer are of types that only it knows. */
export type AnyOperation = Operation<unknown, unknown>;

export const coldOperations: ReadonlyMap<number, AnyOperation> = new Map(
  (
    [
      mapOperation,
      listVersionsOperation,
      adoptEpochOperation,
      removeLayerOperation,
      copyObjectOperation,
      installOperation,
      removeObjectOperation,
      repairOperation,
      describeOperation,
      spaceOperation,
      listLayersOperation,
    ] as AnyOperation[]
  ).map((operation) => [operation.type, operation]),
);
