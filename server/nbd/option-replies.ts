/**
 * The server's messages of the handshake, as bytes.
 *
 * Owns: encoding. Does not own: when which message is sent.
 */
import type { ExportDescription } from '../volume/export-catalog.ts';
import {
  BLOCK_BYTES_MIN,
  BLOCK_BYTES_PREFERRED,
  ERROR_TEXT_CHARS_MAX,
  PAYLOAD_BYTES_MAX,
} from './limits.ts';
import {
  CONTEXT_BASE_ALLOCATION,
  countLayout,
  EXPORT_NAME_ZEROES_BYTES,
  exportNameReplyLayout,
  FLAG_FIXED_NEWSTYLE,
  FLAG_NO_ZEROES,
  greetingLayout,
  IHAVEOPT,
  INFO_BLOCK_SIZE,
  INFO_EXPORT,
  infoBlockSizeLayout,
  infoExportLayout,
  infoTextLayout,
  metaContextLayout,
  NBDMAGIC,
  OPTION_REPLY_MAGIC,
  optionReplyHeaderLayout,
  REP_ACK,
  REP_INFO,
  REP_META_CONTEXT,
  REP_SERVER,
} from './wire.ts';

export function encodeGreeting(): Buffer {
  const bytes = Buffer.alloc(greetingLayout.span);
  const flags = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES;
  greetingLayout.encode({ magic: NBDMAGIC, optionMagic: IHAVEOPT, flags }, bytes);
  return bytes;
}

function optionReply(option: number, type: number, data: Buffer): Buffer {
  const header = Buffer.alloc(optionReplyHeaderLayout.span);
  optionReplyHeaderLayout.encode(
    { magic: OPTION_REPLY_MAGIC, option, type, lengthBytes: data.length },
    header,
  );
  return Buffer.concat([header, data]);
}

export function encodeAck(option: number): Buffer {
  return optionReply(option, REP_ACK, Buffer.alloc(0));
}

/** `error` is one of the NBD_REP_ERR_ values, `text` a sentence for a human being. */
export function encodeOptionError(option: number, error: number, text: string): Buffer {
  return optionReply(option, error, Buffer.from(text.slice(0, ERROR_TEXT_CHARS_MAX)));
}

/** NBD_REP_SERVER. */
export function encodeServer(option: number, { name, description }: ExportDescription): Buffer {
  const nameBytes = Buffer.from(name);
  const count = Buffer.alloc(countLayout.span);
  countLayout.encode({ count: nameBytes.length }, count);
  return optionReply(
    option,
    REP_SERVER,
    Buffer.concat([count, nameBytes, Buffer.from(description)]),
  );
}

/** NBD_REP_INFO with NBD_INFO_EXPORT. */
export function encodeInfoExport(option: number, sizeBytes: number, flags: number): Buffer {
  const data = Buffer.alloc(infoExportLayout.span);
  infoExportLayout.encode({ type: INFO_EXPORT, sizeBytes, transmissionFlags: flags }, data);
  return optionReply(option, REP_INFO, data);
}

/** NBD_REP_INFO with NBD_INFO_NAME or NBD_INFO_DESCRIPTION. */
export function encodeInfoText(option: number, type: number, text: string): Buffer {
  const head = Buffer.alloc(infoTextLayout.span);
  infoTextLayout.encode({ type }, head);
  return optionReply(option, REP_INFO, Buffer.concat([head, Buffer.from(text)]));
}

/** NBD_REP_INFO with NBD_INFO_BLOCK_SIZE: advice, nothing below or unaligned is refused. */
export function encodeInfoBlockSize(option: number): Buffer {
  const data = Buffer.alloc(infoBlockSizeLayout.span);
  infoBlockSizeLayout.encode(
    {
      type: INFO_BLOCK_SIZE,
      minimumBytes: BLOCK_BYTES_MIN,
      preferredBytes: BLOCK_BYTES_PREFERRED,
      payloadBytesMax: PAYLOAD_BYTES_MAX,
    },
    data,
  );
  return optionReply(option, REP_INFO, data);
}

/** NBD_REP_META_CONTEXT for `base:allocation`, the one context there is. */
export function encodeMetaContext(option: number, contextId: number): Buffer {
  const head = Buffer.alloc(metaContextLayout.span);
  metaContextLayout.encode({ contextId }, head);
  return optionReply(
    option,
    REP_META_CONTEXT,
    Buffer.concat([head, Buffer.from(CONTEXT_BASE_ALLOCATION)]),
  );
}

/** The answer to NBD_OPT_EXPORT_NAME, which has no header. */
export function encodeExportNameReply(
  sizeBytes: number,
  transmissionFlags: number,
  withZeroes: boolean,
): Buffer {
  const zeroesBytes = withZeroes ? EXPORT_NAME_ZEROES_BYTES : 0;
  const bytes = Buffer.alloc(exportNameReplyLayout.span + zeroesBytes);
  exportNameReplyLayout.encode({ sizeBytes, transmissionFlags }, bytes);
  return bytes;
}
