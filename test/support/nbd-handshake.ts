/**
 * The client's side of the fixed newstyle handshake, written from the NBD specification and from
 * nothing of the server's, so that one misreading cannot hide in both.
 */
import type { Socket } from 'node:net';
import type { ByteReader } from './byte-reader.ts';

export const NBDMAGIC = Buffer.from('NBDMAGIC');
export const IHAVEOPT = Buffer.from('IHAVEOPT');
export const OPTION_REPLY_MAGIC = Buffer.from('0003e889045565a9', 'hex');

export const OPT_EXPORT_NAME = 1;
export const OPT_GO = 7;
export const OPT_STRUCTURED_REPLY = 8;
export const OPT_SET_META_CONTEXT = 10;

export const REP_ACK = 1;
export const REP_INFO = 3;
export const REP_META_CONTEXT = 4;
const REP_ERROR_BIT = 0x8000_0000;

const INFO_EXPORT = 0;
const CLIENT_FIXED_NEWSTYLE_NO_ZEROES = 3;

export interface ExportInfo {
  readonly sizeBytes: number;
  readonly transmissionFlags: number;
}

interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

export function optionBytes(option: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16);
  IHAVEOPT.copy(head, 0);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

export function goData(exportName: string): Buffer {
  return Buffer.concat([lengthPrefixed(exportName), Buffer.alloc(2)]);
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function metaContextData(exportName: string, context: string): Buffer {
  const one = Buffer.from([0, 0, 0, 1]);
  return Buffer.concat([lengthPrefixed(exportName), one, lengthPrefixed(context)]);
}

/** Reads the server's greeting and answers it: 4 bytes of client flags. */
export async function greet(socket: Socket, reader: ByteReader): Promise<void> {
  const greeting = await reader.take(18);
  if (!greeting.subarray(0, 16).equals(Buffer.concat([NBDMAGIC, IHAVEOPT]))) {
    throw new Error(`not a newstyle greeting: ${greeting.toString('hex')}`);
  }
  const flags = Buffer.alloc(4);
  flags.writeUInt32BE(CLIENT_FIXED_NEWSTYLE_NO_ZEROES);
  socket.write(flags);
}

/** Sends one option and gathers its replies up to the final one; an error reply is thrown. */
async function haggle(
  socket: Socket,
  reader: ByteReader,
  option: number,
  data: Buffer,
): Promise<OptionReply[]> {
  socket.write(optionBytes(option, data));
  const replies: OptionReply[] = [];
  for (;;) {
    const head = await reader.take(20);
    if (!head.subarray(0, 8).equals(OPTION_REPLY_MAGIC) || head.readUInt32BE(8) !== option) {
      throw new Error(`not a reply to option ${option}: ${head.toString('hex')}`);
    }
    const type = head.readUInt32BE(12);
    const body = Buffer.from(await reader.take(head.readUInt32BE(16)));
    if (type >= REP_ERROR_BIT) {
      const code = type - REP_ERROR_BIT;
      throw new Error(`option ${option}: server answered error ${code} ${body.toString()}`);
    }
    if (type === REP_ACK) return replies;
    replies.push({ type, data: body });
  }
}

/** Ends haggling with NBD_OPT_GO. `structured` also asks for `base:allocation`. */
export async function negotiate(
  socket: Socket,
  reader: ByteReader,
  exportName: string,
  structured: boolean,
): Promise<ExportInfo> {
  await greet(socket, reader);
  if (structured) {
    await haggle(socket, reader, OPT_STRUCTURED_REPLY, Buffer.alloc(0));
    const query = metaContextData(exportName, 'base:allocation');
    const contexts = await haggle(socket, reader, OPT_SET_META_CONTEXT, query);
    if (!contexts.some((reply) => reply.type === REP_META_CONTEXT)) {
      throw new Error('the server has no context base:allocation');
    }
  }
  const replies = await haggle(socket, reader, OPT_GO, goData(exportName));
  const info = replies.find(
    ({ type, data }) => type === REP_INFO && data.readUInt16BE(0) === INFO_EXPORT,
  );
  if (info === undefined) throw new Error('NBD_OPT_GO was acknowledged without NBD_INFO_EXPORT');
  return {
    sizeBytes: Number(info.data.readBigUInt64BE(2)),
    transmissionFlags: info.data.readUInt16BE(10),
  };
}
