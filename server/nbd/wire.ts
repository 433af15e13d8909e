/**
 * The bytes of the NBD protocol: every constant and layout, named as in the specification.
 *
 * Owns: values and layouts, each once. Does not own: what they mean to a connection.
 * Invariant: a layout's span is what the specification counts, asserted when this file is loaded.
 * The data path reads and writes fields at the offsets taken from these layouts.
 */
import assert from 'node:assert/strict';
import { blob, nu64be, type Structure, struct, u16be, u32be } from 'buffer-layout';

function layout<T>(spanBytes: number, fields: Parameters<typeof struct>[0]): Structure<T> {
  const structure = struct<T>(fields);
  assert.equal(structure.span, spanBytes, 'a layout differs from the specification');
  return structure;
}

function offsetOf<T>(structure: Structure<T>, field: keyof T & string): number {
  const offset = structure.offsetOf(field);
  assert(offset !== undefined && offset >= 0, `no field ${field} in the layout`);
  return offset;
}

// "Newstyle negotiation"

export const NBDMAGIC = Buffer.from('NBDMAGIC', 'latin1');
export const IHAVEOPT = Buffer.from('IHAVEOPT', 'latin1');

export const FLAG_FIXED_NEWSTYLE = 1 << 0;
export const FLAG_NO_ZEROES = 1 << 1;
export const FLAG_C_FIXED_NEWSTYLE = 1 << 0;
export const FLAG_C_NO_ZEROES = 1 << 1;

export const greetingLayout = layout<{ magic: Buffer; optionMagic: Buffer; flags: number }>(18, [
  blob(8, 'magic'),
  blob(8, 'optionMagic'),
  u16be('flags'),
]);

export const clientFlagsLayout = layout<{ flags: number }>(4, [u32be('flags')]);

export const optionHeaderLayout = layout<{ magic: Buffer; option: number; lengthBytes: number }>(
  16,
  [blob(8, 'magic'), u32be('option'), u32be('lengthBytes')],
);

/** The answer to NBD_OPT_EXPORT_NAME, without the zeroes that may follow. */
export const exportNameReplyLayout = layout<{ sizeBytes: number; transmissionFlags: number }>(10, [
  nu64be('sizeBytes'),
  u16be('transmissionFlags'),
]);
export const EXPORT_NAME_ZEROES_BYTES = 124;

// "Fixed newstyle negotiation"

export const OPTION_REPLY_MAGIC = Buffer.from('0003e889045565a9', 'hex');

export const optionReplyHeaderLayout = layout<{
  magic: Buffer;
  option: number;
  type: number;
  lengthBytes: number;
}>(20, [blob(8, 'magic'), u32be('option'), u32be('type'), u32be('lengthBytes')]);

// "Option types"

export const OPT_EXPORT_NAME = 1;
export const OPT_ABORT = 2;
export const OPT_LIST = 3;
export const OPT_STARTTLS = 5;
export const OPT_INFO = 6;
export const OPT_GO = 7;
export const OPT_STRUCTURED_REPLY = 8;
export const OPT_LIST_META_CONTEXT = 9;
export const OPT_SET_META_CONTEXT = 10;

// "Option reply types"

export const REP_ACK = 1;
export const REP_SERVER = 2;
export const REP_INFO = 3;
export const REP_META_CONTEXT = 4;
export const REP_ERR_UNSUP = 0x8000_0001;
export const REP_ERR_POLICY = 0x8000_0002;
export const REP_ERR_INVALID = 0x8000_0003;
export const REP_ERR_UNKNOWN = 0x8000_0006;
export const REP_ERR_SHUTDOWN = 0x8000_0007;
export const REP_ERR_TOO_BIG = 0x8000_0009;

export const INFO_EXPORT = 0;
export const INFO_NAME = 1;
export const INFO_DESCRIPTION = 2;
export const INFO_BLOCK_SIZE = 3;

export const infoExportLayout = layout<{
  type: number;
  sizeBytes: number;
  transmissionFlags: number;
}>(12, [u16be('type'), nu64be('sizeBytes'), u16be('transmissionFlags')]);

export const infoBlockSizeLayout = layout<{
  type: number;
  minimumBytes: number;
  preferredBytes: number;
  payloadBytesMax: number;
}>(14, [u16be('type'), u32be('minimumBytes'), u32be('preferredBytes'), u32be('payloadBytesMax')]);

/** The head of NBD_INFO_NAME and NBD_INFO_DESCRIPTION; the text follows. */
export const infoTextLayout = layout<{ type: number }>(2, [u16be('type')]);

/** A string's or a list's count in option data: names, queries, the export of NBD_REP_SERVER. */
export const countLayout = layout<{ count: number }>(4, [u32be('count')]);
/** Number of information requests, and each of them, in NBD_OPT_INFO and NBD_OPT_GO. */
export const shortLayout = layout<{ value: number }>(2, [u16be('value')]);
/** The head of NBD_REP_META_CONTEXT; the context's name follows. */
export const metaContextLayout = layout<{ contextId: number }>(4, [u32be('contextId')]);

export const CONTEXT_BASE_ALLOCATION = 'base:allocation';
/** Transient and opaque; any number does, and one that is not zero shows who mixes them up. */
export const CONTEXT_ID_BASE_ALLOCATION = 1;

// "Transmission flags"

export const FLAG_HAS_FLAGS = 1 << 0;
export const FLAG_READ_ONLY = 1 << 1;
export const FLAG_SEND_FLUSH = 1 << 2;
export const FLAG_SEND_FUA = 1 << 3;
export const FLAG_SEND_TRIM = 1 << 5;
export const FLAG_SEND_WRITE_ZEROES = 1 << 6;
export const FLAG_SEND_DF = 1 << 7;
export const FLAG_CAN_MULTI_CONN = 1 << 8;
export const FLAG_SEND_CACHE = 1 << 10;
export const FLAG_SEND_FAST_ZERO = 1 << 11;

// "Request message"

export const REQUEST_MAGIC = 0x25609513;

export const requestLayout = layout<{
  magic: number;
  flags: number;
  command: number;
  cookie: Buffer;
  offset: number;
  lengthBytes: number;
}>(28, [
  u32be('magic'),
  u16be('flags'),
  u16be('command'),
  blob(8, 'cookie'),
  nu64be('offset'),
  u32be('lengthBytes'),
]);
export const REQUEST_BYTES = requestLayout.span;
export const REQUEST_FLAGS_AT = offsetOf(requestLayout, 'flags');
export const REQUEST_COMMAND_AT = offsetOf(requestLayout, 'command');
export const REQUEST_COOKIE_AT = offsetOf(requestLayout, 'cookie');
export const REQUEST_OFFSET_AT = offsetOf(requestLayout, 'offset');
export const REQUEST_LENGTH_AT = offsetOf(requestLayout, 'lengthBytes');

export const CMD_READ = 0;
export const CMD_WRITE = 1;
export const CMD_DISC = 2;
export const CMD_FLUSH = 3;
export const CMD_TRIM = 4;
export const CMD_CACHE = 5;
export const CMD_WRITE_ZEROES = 6;
export const CMD_BLOCK_STATUS = 7;

export const CMD_FLAG_FUA = 1 << 0;
export const CMD_FLAG_NO_HOLE = 1 << 1;
export const CMD_FLAG_DF = 1 << 2;
export const CMD_FLAG_REQ_ONE = 1 << 3;
export const CMD_FLAG_FAST_ZERO = 1 << 4;

// "Simple reply message"

export const SIMPLE_REPLY_MAGIC = 0x67446698;

export const simpleReplyLayout = layout<{ magic: number; error: number; cookie: Buffer }>(16, [
  u32be('magic'),
  u32be('error'),
  blob(8, 'cookie'),
]);
export const SIMPLE_REPLY_BYTES = simpleReplyLayout.span;
export const SIMPLE_REPLY_ERROR_AT = offsetOf(simpleReplyLayout, 'error');
export const SIMPLE_REPLY_COOKIE_AT = offsetOf(simpleReplyLayout, 'cookie');

// "Structured reply chunk message"

export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const chunkLayout = layout<{
  magic: number;
  flags: number;
  type: number;
  cookie: Buffer;
  lengthBytes: number;
}>(20, [u32be('magic'), u16be('flags'), u16be('type'), blob(8, 'cookie'), u32be('lengthBytes')]);
export const CHUNK_BYTES = chunkLayout.span;
export const CHUNK_FLAGS_AT = offsetOf(chunkLayout, 'flags');
export const CHUNK_TYPE_AT = offsetOf(chunkLayout, 'type');
export const CHUNK_COOKIE_AT = offsetOf(chunkLayout, 'cookie');
export const CHUNK_LENGTH_AT = offsetOf(chunkLayout, 'lengthBytes');

export const REPLY_FLAG_DONE = 1 << 0;

export const REPLY_TYPE_NONE = 0;
export const REPLY_TYPE_OFFSET_DATA = 1;
export const REPLY_TYPE_OFFSET_HOLE = 2;
export const REPLY_TYPE_BLOCK_STATUS = 5;
export const REPLY_TYPE_ERROR = 0x8001;

/** The head of NBD_REPLY_TYPE_OFFSET_DATA's payload; the data follows. */
export const offsetDataLayout = layout<{ offset: number }>(8, [nu64be('offset')]);
export const OFFSET_DATA_BYTES = offsetDataLayout.span;

export const offsetHoleLayout = layout<{ offset: number; holeBytes: number }>(12, [
  nu64be('offset'),
  u32be('holeBytes'),
]);
export const OFFSET_HOLE_BYTES = offsetHoleLayout.span;
export const OFFSET_HOLE_SIZE_AT = offsetOf(offsetHoleLayout, 'holeBytes');

/** The head of NBD_REPLY_TYPE_BLOCK_STATUS's payload; the descriptors follow. */
export const blockStatusLayout = layout<{ contextId: number }>(4, [u32be('contextId')]);
export const descriptorLayout = layout<{ lengthBytes: number; status: number }>(8, [
  u32be('lengthBytes'),
  u32be('status'),
]);

export const STATE_HOLE = 1 << 0;
export const STATE_ZERO = 1 << 1;

/** The head of NBD_REPLY_TYPE_ERROR's payload; the message follows. */
export const errorLayout = layout<{ error: number; messageBytes: number }>(6, [
  u32be('error'),
  u16be('messageBytes'),
]);

// "Error values"

export const NBD_EPERM = 1;
export const NBD_EIO = 5;
export const NBD_EINVAL = 22;
export const NBD_ENOSPC = 28;
export const NBD_EOVERFLOW = 75;
export const NBD_ESHUTDOWN = 108;
