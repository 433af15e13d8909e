/**
 * The fixed parts of the messages in `cold-messages.ts`, and of the greeting.
 *
 * Owns: the layouts, and turning versions into the fields that carry them. Does not own: what
 * follows a fixed part. Numbers above 32 bits that are no ids travel as a lower and an upper half.
 */
import assert from 'node:assert';
import { blob, nu64, type Structure, struct, u8, u16, u32, u48 } from 'buffer-layout';
import type { LeaseScope } from '../engine/replica-node.ts';
import type { ObjectKey, Version } from '../engine/store-node.ts';
import { DroverError } from '../runtime/drover-error.ts';

export type FixedLayout<T extends object> = Structure<T>;

function layout<T extends object>(
  span: number,
  ...fields: Parameters<typeof struct>[0]
): FixedLayout<T> {
  const structure = struct<T>(fields);
  assert.equal(structure.span, span);
  return structure;
}

export function encode<T extends object>(of: FixedLayout<T>, fields: T): Buffer {
  const bytes = Buffer.alloc(of.span);
  of.encode(fields, bytes);
  return bytes;
}

/** Error: `invalid` if the meta is not exactly this layout. */
export function decode<T extends object>(of: FixedLayout<T>, meta: Buffer): T {
  if (meta.length !== of.span) {
    throw new DroverError('invalid', `a message of ${meta.length} bytes, not ${of.span}`);
  }
  return of.decode(meta);
}

/** Decodes the fixed part of a meta that goes on behind it. Error: `invalid` if it is cut short. */
export function decodeFront<T extends object>(of: FixedLayout<T>, meta: Buffer): T {
  if (meta.length < of.span) throw new DroverError('invalid', 'a message that is cut short');
  return of.decode(meta);
}

export interface VersionFields {
  versionEpoch: number;
  versionSeqLow: number;
  versionSeqHigh: number;
}
const versionFields = [u32('versionEpoch'), u32('versionSeqLow'), u32('versionSeqHigh')];
export const version = layout<VersionFields>(12, ...versionFields);

export interface BaseFields {
  baseEpoch: number;
  baseSeqLow: number;
  baseSeqHigh: number;
}
const baseFields = [u32('baseEpoch'), u32('baseSeqLow'), u32('baseSeqHigh')];

const TWO_32 = 2 ** 32;

function seqOf(low: number, high: number): number {
  const seq = high * TWO_32 + low;
  if (!Number.isSafeInteger(seq)) throw new DroverError('invalid', 'a seq of 2^53 or more');
  return seq;
}

export function versionHalves({ epoch, seq }: Version): VersionFields {
  return {
    versionEpoch: epoch,
    versionSeqLow: seq % TWO_32,
    versionSeqHigh: Math.floor(seq / TWO_32),
  };
}

export function versionOf(fields: VersionFields): Version {
  return { epoch: fields.versionEpoch, seq: seqOf(fields.versionSeqLow, fields.versionSeqHigh) };
}

export function baseHalves({ epoch, seq }: Version): BaseFields {
  return { baseEpoch: epoch, baseSeqLow: seq % TWO_32, baseSeqHigh: Math.floor(seq / TWO_32) };
}

export function baseOf(fields: BaseFields): Version {
  return { epoch: fields.baseEpoch, seq: seqOf(fields.baseSeqLow, fields.baseSeqHigh) };
}

export const lease = layout<{ volumeId: number; epoch: number }>(10, u48('volumeId'), u32('epoch'));
export const layer = layout<{ layerId: number }>(6, u48('layerId'));
export const object = layout<{ layerId: number; objectIndex: number; blockCount: number }>(
  12,
  u48('layerId'),
  u32('objectIndex'),
  u16('blockCount'),
);
export const listVersions = layout<{ layerId: number; fromObjectIndex: number; limit: number }>(
  14,
  u48('layerId'),
  u32('fromObjectIndex'),
  u32('limit'),
);
/** What stands before a list that is the payload. */
export const list = layout<{ count: number; payloadCrc: number }>(
  8,
  u32('count'),
  u32('payloadCrc'),
);

/** What every change but a write begins with. */
export interface ChangeFields extends VersionFields {
  volumeId: number;
  epoch: number;
  layerId: number;
  objectIndex: number;
}
const objectFields = [u48('volumeId'), u32('epoch'), u48('layerId'), u32('objectIndex')];
const changeFields = [...objectFields, ...versionFields];

export const removeObject = layout<LeaseScope & ObjectKey>(20, ...objectFields);

export function change(scope: LeaseScope & ObjectKey, to: Version): ChangeFields {
  const { volumeId, epoch, layerId, objectIndex } = scope;
  return { volumeId, epoch, layerId, objectIndex, ...versionHalves(to) };
}

export function changeOf(fields: ChangeFields): LeaseScope & ObjectKey & { version: Version } {
  const { volumeId, epoch, layerId, objectIndex } = fields;
  return { volumeId, epoch, layerId, objectIndex, version: versionOf(fields) };
}

export interface CopyFields extends ChangeFields, BaseFields {
  blockCount: number;
  sourceBytes: number;
  /** 1 if the source's name is followed by a bitmap of the changed blocks. */
  isDelta: number;
}
export const copy = layout<CopyFields>(
  48,
  ...changeFields,
  u16('blockCount'),
  ...baseFields,
  u8('sourceBytes'),
  u8('isDelta'),
);
export const copied = layout<{ receivedBytes: number }>(8, nu64('receivedBytes'));

export interface InstallFields extends ChangeFields {
  blockCount: number;
  reserved: number;
}
/** Followed by a u8 kind, then a u32 checksum, for each block. */
export const install = layout<InstallFields>(
  36,
  ...changeFields,
  u16('blockCount'),
  u16('reserved'),
);

export interface RepairFields extends ChangeFields {
  startBlock: number;
  blockCount: number;
}
/** Followed by a u32 checksum for each block. */
export const repair = layout<RepairFields>(
  36,
  ...changeFields,
  u16('startBlock'),
  u16('blockCount'),
);

export interface SpaceFields {
  capacityBytes: number;
  liveBytes: number;
  freeBytes: number;
  objectCount: number;
}
export const space = layout<SpaceFields>(
  32,
  nu64('capacityBytes'),
  nu64('liveBytes'),
  nu64('freeBytes'),
  nu64('objectCount'),
);

export interface HelloFields {
  versionMin: number;
  versionMax: number;
  role: number;
  reserved: number;
  /** Grows with every connection of one client. */
  connectionNumber: number;
  clientId: Buffer;
  clusterBytes: number;
  ownNameBytes: number;
  wantedNodeBytes: number;
  reserved2: number;
  credentialBytes: number;
}
/** Followed by the cluster's id, the client's name, the wanted node's id, and the credential. */
export const hello = layout<HelloFields>(
  32,
  u16('versionMin'),
  u16('versionMax'),
  u8('role'),
  u8('reserved'),
  u32('connectionNumber'),
  blob(16, 'clientId'),
  u8('clusterBytes'),
  u8('ownNameBytes'),
  u8('wantedNodeBytes'),
  u8('reserved2'),
  u16('credentialBytes'),
);

export interface WelcomeFields {
  version: number;
  nodeBytes: number;
  directoryBytes: number;
  openBytes: number;
  reserved: number;
  reserved2: number;
  requestsMax: number;
  heldBytesMax: number;
}
/** Followed by the node's id, its directory's, and that of the time it was opened. */
export const welcome = layout<WelcomeFields>(
  16,
  u16('version'),
  u8('nodeBytes'),
  u8('directoryBytes'),
  u8('openBytes'),
  u8('reserved'),
  u16('reserved2'),
  u32('requestsMax'),
  u32('heldBytesMax'),
);
