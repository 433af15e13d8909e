/**
 * Bytes of the NBD protocol as a client sends and expects them, written by hand from the
 * specification and from nothing of the server's.
 */

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: bigint | number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

/** A 32-bit length and the text. */
export function lengthPrefixed(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u32(bytes.length), bytes]);
}

export const GREETING = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]);

export function optionHeader(option: number, lengthBytes: number): Buffer {
  return Buffer.concat([Buffer.from('IHAVEOPT'), u32(option), u32(lengthBytes)]);
}

export function option(option: number, data: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(data);
  return Buffer.concat([optionHeader(option, bytes.length), bytes]);
}

export function optionReply(option: number, type: number, data: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(data);
  return Buffer.concat([
    hex('0003e889 045565a9'),
    u32(option),
    u32(type),
    u32(bytes.length),
    bytes,
  ]);
}

/** The data of NBD_OPT_INFO and NBD_OPT_GO. */
export function infoData(name: string | Buffer, ...infoTypes: readonly number[]): Buffer {
  return Buffer.concat([lengthPrefixed(name), u16(infoTypes.length), ...infoTypes.map(u16)]);
}

/** The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export function metaData(name: string | Buffer, ...queries: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat([
    lengthPrefixed(name),
    u32(queries.length),
    ...queries.map((query) => lengthPrefixed(query)),
  ]);
}

export interface RequestFields {
  readonly flags?: number;
  readonly cookie?: bigint | number;
  readonly offset?: bigint | number;
  readonly length?: number;
  readonly payload?: Buffer;
}

/** A request; its length is the payload's unless it is given. */
export function request(command: number, fields: RequestFields = {}): Buffer {
  const { flags = 0, cookie = 1, offset = 0, payload = Buffer.alloc(0) } = fields;
  return Buffer.concat([
    hex('25609513'),
    u16(flags),
    u16(command),
    u64(cookie),
    u64(offset),
    u32(fields.length ?? payload.length),
    payload,
  ]);
}

export function simpleReply(
  cookie: bigint | number,
  error = 0,
  data: Buffer = Buffer.alloc(0),
): Buffer {
  return Buffer.concat([hex('67446698'), u32(error), u64(cookie), data]);
}

/** A structured chunk; `isLast` sets NBD_REPLY_FLAG_DONE. */
export function chunk(
  cookie: bigint | number,
  isLast: boolean,
  type: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  return Buffer.concat([
    hex('668e33ef'),
    u16(isLast ? 1 : 0),
    u16(type),
    u64(cookie),
    u32(payload.length),
    payload,
  ]);
}

export function dataChunk(
  cookie: bigint | number,
  isLast: boolean,
  offset: number,
  data: Buffer,
): Buffer {
  return chunk(cookie, isLast, 1, Buffer.concat([u64(offset), data]));
}

export function holeChunk(
  cookie: bigint | number,
  isLast: boolean,
  offset: number,
  holeBytes: number,
): Buffer {
  return chunk(cookie, isLast, 2, Buffer.concat([u64(offset), u32(holeBytes)]));
}

/** Bytes that differ from their neighbours and from zero. */
export function pattern(lengthBytes: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let i = 0; i < lengthBytes; i += 1) bytes[i] = ((i * 31 + seed * 7) % 255) + 1;
  return bytes;
}
