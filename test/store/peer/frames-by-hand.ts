/** Frames built byte by byte as docs/formats.md says, without the production writer. */
import { crc32 } from 'node:zlib';

export interface HandFrame {
  readonly type: number;
  readonly flags?: number;
  readonly status?: number;
  readonly requestId?: number;
  readonly meta?: Buffer;
  readonly payload?: Buffer;
}

export function frame(fields: HandFrame): Buffer {
  const { type, flags = 0, status = 0, requestId = 0 } = fields;
  const meta = fields.meta ?? Buffer.alloc(0);
  const payload = fields.payload ?? Buffer.alloc(0);
  const header = Buffer.concat([
    Buffer.from('DRVP'),
    Buffer.alloc(4),
    Buffer.of(type, flags, status & 0xff, status >> 8),
    u32(requestId),
    u32(meta.length),
    u32(payload.length),
  ]);
  u32(crc32(Buffer.concat([header.subarray(8), meta]))).copy(header, 4);
  return Buffer.concat([header, meta, payload]);
}

export function u16(value: number): Buffer {
  return Buffer.of(value & 0xff, value >> 8);
}

export function u32(value: number): Buffer {
  return Buffer.of(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24);
}

export function u48(value: number): Buffer {
  return Buffer.concat([u32(value % 2 ** 32), u16(Math.floor(value / 2 ** 32))]);
}

export function version(epoch: number, seq: number): Buffer {
  return Buffer.concat([u32(epoch), u32(seq % 2 ** 32), u32(Math.floor(seq / 2 ** 32))]);
}

export interface HandHello {
  readonly versions?: readonly [number, number];
  readonly role?: number;
  readonly connectionNumber?: number;
  readonly clientId?: Buffer;
  readonly cluster?: string;
  readonly name?: string;
  readonly node?: string;
}

export function hello(fields: HandHello = {}): Buffer {
  const [min, max] = fields.versions ?? [1, 1];
  const cluster = Buffer.from(fields.cluster ?? 'cluster');
  const name = Buffer.from(fields.name ?? 'by-hand');
  const node = Buffer.from(fields.node ?? 'n1');
  const meta = Buffer.concat([
    u16(min),
    u16(max),
    Buffer.of(fields.role ?? 1, 0),
    u32(fields.connectionNumber ?? 1),
    fields.clientId ?? Buffer.alloc(16, 9),
    Buffer.of(cluster.length, name.length, node.length, 0),
    u16(0),
    cluster,
    name,
    node,
  ]);
  return frame({ type: 1, meta });
}

/** A read of `blocks` blocks of object `objectIndex` of layer 6 at version 3.seq. */
export function read(requestId: number, objectIndex: number, seq: number, blocks: number): Buffer {
  const meta = Buffer.concat([u48(6), u32(objectIndex), version(3, seq), u16(0), u16(blocks)]);
  return frame({ type: 4, requestId, meta });
}

export interface HandWrite {
  readonly objectIndex: number;
  readonly seq: number;
  readonly extents?: readonly (readonly [start: number, count: number, kind: number])[];
  readonly crcs?: readonly number[];
  readonly payload?: Buffer;
}

/** A write of volume 5, layer 6, from version 3.(seq - 1) to 3.seq; by default of one block. */
export function write(requestId: number, fields: HandWrite): Buffer {
  const payload = fields.payload ?? Buffer.alloc(4096, 0x5a);
  const extents = fields.extents ?? [[0, 1, 2]];
  const crcs = fields.crcs ?? [crc32(payload)];
  const meta = Buffer.concat([
    u48(5),
    u48(6),
    u32(fields.objectIndex),
    u32(3),
    fields.seq === 1 ? version(0, 0) : version(3, fields.seq - 1),
    version(3, fields.seq),
    u16(extents.length),
    u16(crcs.length),
    ...extents.flatMap(([start, count, kind]) => [u16(start), u16(count), Buffer.of(kind, 0)]),
    ...crcs.map(u32),
  ]);
  return frame({ type: 3, requestId, meta, payload });
}
