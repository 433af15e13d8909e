/**
 * The fixed newstyle handshake: what each message of the client is answered with.
 *
 * Owns: what was negotiated so far. Does not own: bytes that are not a whole message
 * (`handshake-decoder.ts`), I/O, or attaching an export: that is asked for by an answer of the kind
 * `open`, and its outcome told by `opened` or `refused` before the next message.
 * Invariant: nothing is answered before the client's flags have been accepted.
 */
import type { DroverError } from '../../store/runtime/drover-error.ts';
import type { BlockDevice } from '../volume/block-device.ts';
import type { ExportCatalog, ExportDescription } from '../volume/export-catalog.ts';
import type { HandshakeMessage } from './handshake-decoder.ts';
import { decodeInfoRequest, decodeMetaContextRequest, decodeString } from './option-data.ts';
import {
  encodeAck,
  encodeExportNameReply,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeMetaContext,
  encodeOptionError,
  encodeServer,
} from './option-replies.ts';
import {
  CONTEXT_BASE_ALLOCATION,
  CONTEXT_ID_BASE_ALLOCATION,
  FLAG_C_FIXED_NEWSTYLE,
  FLAG_C_NO_ZEROES,
  FLAG_CAN_MULTI_CONN,
  FLAG_HAS_FLAGS,
  FLAG_READ_ONLY,
  FLAG_SEND_CACHE,
  FLAG_SEND_DF,
  FLAG_SEND_FAST_ZERO,
  FLAG_SEND_FLUSH,
  FLAG_SEND_FUA,
  FLAG_SEND_TRIM,
  FLAG_SEND_WRITE_ZEROES,
  INFO_BLOCK_SIZE,
  INFO_DESCRIPTION,
  INFO_NAME,
  OPT_ABORT,
  OPT_EXPORT_NAME,
  OPT_GO,
  OPT_INFO,
  OPT_LIST,
  OPT_LIST_META_CONTEXT,
  OPT_SET_META_CONTEXT,
  OPT_STARTTLS,
  OPT_STRUCTURED_REPLY,
  REP_ERR_INVALID,
  REP_ERR_SHUTDOWN,
  REP_ERR_TOO_BIG,
  REP_ERR_UNKNOWN,
  REP_ERR_UNSUP,
} from './wire.ts';
import { OPTION_ERROR_BY_KIND } from './wire-errors.ts';

/** The choice of an export, waiting for the catalog. */
export interface OpenRequest {
  readonly option: number;
  readonly exportName: string;
  readonly infoTypes: readonly number[];
}

export type HandshakeAnswer =
  /** Nothing to say; the next message may come. */
  | { readonly kind: 'silence' }
  | { readonly kind: 'reply'; readonly bytes: Buffer }
  | { readonly kind: 'open'; readonly request: OpenRequest }
  /** The last reply; the connection ends after it. */
  | { readonly kind: 'farewell'; readonly bytes: Buffer }
  /** The connection ends at once. */
  | { readonly kind: 'violation'; readonly reason: string };

/** What the transmission needs to know of the handshake. */
export interface Negotiated {
  readonly structuredReplies: boolean;
  /** Whether `base:allocation` was selected for the export that was opened. */
  readonly baseAllocation: boolean;
}

const KNOWN_CLIENT_FLAGS = FLAG_C_FIXED_NEWSTYLE | FLAG_C_NO_ZEROES;

export class Handshake {
  readonly #catalog: Pick<ExportCatalog, 'list' | 'find'>;
  #noZeroes = false;
  #structuredReplies = false;
  /** The name that NBD_OPT_SET_META_CONTEXT selected `base:allocation` for. */
  #allocationExport: string | undefined;

  constructor(catalog: Pick<ExportCatalog, 'list' | 'find'>) {
    this.#catalog = catalog;
  }

  answer(message: HandshakeMessage): HandshakeAnswer {
    switch (message.kind) {
      case 'clientFlags':
        return this.#clientFlags(message.flags);
      case 'badMagic':
        return { kind: 'violation', reason: 'an option does not start with its magic number' };
      case 'option':
        return this.#option(message.option, message.data);
      case 'skippedOption':
        return this.#skippedOption(message.option, message.lengthBytes);
    }
  }

  /** The export was opened: the final replies, after which the transmission begins. */
  opened(
    request: OpenRequest,
    device: BlockDevice,
    description: string,
  ): { readonly bytes: Buffer; readonly negotiated: Negotiated } {
    const flags = transmissionFlags(device.isReadOnly, this.#structuredReplies);
    const bytes =
      request.option === OPT_EXPORT_NAME
        ? encodeExportNameReply(device.sizeBytes, flags, !this.#noZeroes)
        : encodeInfos(request, { ...describe(device), description }, flags);
    const negotiated = {
      structuredReplies: this.#structuredReplies,
      baseAllocation: this.#allocationExport === request.exportName,
    };
    return { bytes, negotiated };
  }

  /** The export could not be opened. */
  refused(request: OpenRequest, error: DroverError): HandshakeAnswer {
    return optionFailure(request.option, OPTION_ERROR_BY_KIND[error.kind], error.message);
  }

  /** The server is being shut down: no export is opened any more. */
  shutDown(request: OpenRequest): HandshakeAnswer {
    return optionFailure(request.option, REP_ERR_SHUTDOWN, 'the server is being shut down');
  }

  #clientFlags(flags: number): HandshakeAnswer {
    if ((flags & ~KNOWN_CLIENT_FLAGS) !== 0) {
      return { kind: 'violation', reason: `unknown client flags 0x${flags.toString(16)}` };
    }
    this.#noZeroes = (flags & FLAG_C_NO_ZEROES) !== 0;
    return { kind: 'silence' };
  }

  #option(option: number, data: Buffer): HandshakeAnswer {
    switch (option) {
      case OPT_EXPORT_NAME: {
        const exportName = decodeString(data);
        if (exportName === undefined) return optionFailure(option, REP_ERR_INVALID, 'bad name');
        return { kind: 'open', request: { option, exportName, infoTypes: [] } };
      }
      case OPT_INFO:
      case OPT_GO:
        return this.#infoOrGo(option, data);
      case OPT_LIST_META_CONTEXT:
      case OPT_SET_META_CONTEXT:
        return this.#metaContext(option, data);
      default:
        throw new Error(`the data of option ${option} is not asked for`);
    }
  }

  #skippedOption(option: number, lengthBytes: number): HandshakeAnswer {
    switch (option) {
      case OPT_ABORT:
        // Data is ignored here: the client is leaving.
        return { kind: 'farewell', bytes: encodeAck(option) };
      case OPT_LIST:
        return lengthBytes === 0 ? this.#list() : unexpectedData(option);
      case OPT_STRUCTURED_REPLY:
        if (lengthBytes !== 0) return unexpectedData(option);
        this.#structuredReplies = true;
        return { kind: 'reply', bytes: encodeAck(option) };
      case OPT_STARTTLS:
        // The place of TLS: with it, this becomes an answer of a kind of its own, and everything
        // negotiated so far is forgotten. Without it the server is in the mode NOTLS.
        return optionFailure(option, REP_ERR_UNSUP, 'TLS is not supported');
      case OPT_SET_META_CONTEXT:
        this.#allocationExport = undefined;
        return tooBig(option, lengthBytes);
      case OPT_EXPORT_NAME:
      case OPT_INFO:
      case OPT_GO:
      case OPT_LIST_META_CONTEXT:
        return tooBig(option, lengthBytes);
      default:
        return optionFailure(option, REP_ERR_UNSUP, `option ${option} is not supported`);
    }
  }

  #list(): HandshakeAnswer {
    const replies = this.#catalog.list().map((entry) => encodeServer(OPT_LIST, entry));
    return { kind: 'reply', bytes: Buffer.concat([...replies, encodeAck(OPT_LIST)]) };
  }

  #infoOrGo(option: number, data: Buffer): HandshakeAnswer {
    const request = decodeInfoRequest(data);
    if (request === undefined) {
      return optionFailure(option, REP_ERR_INVALID, 'the name or the counts are not valid');
    }
    if (option === OPT_GO) return { kind: 'open', request: { option, ...request } };
    const found = this.#catalog.find(request.exportName);
    if (found === undefined) return unknownExport(option, request.exportName);
    const flags = transmissionFlags(found.isReadOnly, this.#structuredReplies);
    return { kind: 'reply', bytes: encodeInfos({ option, ...request }, found, flags) };
  }

  #metaContext(option: number, data: Buffer): HandshakeAnswer {
    const isSet = option === OPT_SET_META_CONTEXT;
    // Forgotten even when this option fails.
    if (isSet) this.#allocationExport = undefined;
    if (!this.#structuredReplies) {
      return optionFailure(option, REP_ERR_INVALID, 'structured replies come first');
    }
    const request = decodeMetaContextRequest(data);
    if (request === undefined) {
      return optionFailure(option, REP_ERR_INVALID, 'a string or a count is not valid');
    }
    if (this.#catalog.find(request.exportName) === undefined) {
      return unknownExport(option, request.exportName);
    }
    const isMatch = isSet
      ? request.queries.includes(CONTEXT_BASE_ALLOCATION)
      : request.queries.length === 0 || request.queries.some(listsAllocation);
    const replies = [encodeAck(option)];
    if (isMatch) replies.unshift(encodeMetaContext(option, isSet ? CONTEXT_ID_BASE_ALLOCATION : 0));
    if (isSet && isMatch) this.#allocationExport = request.exportName;
    return { kind: 'reply', bytes: Buffer.concat(replies) };
  }
}

/** NBD, "The base: metadata namespace": `base:` alone is a wildcard of listing only. */
function listsAllocation(query: string): boolean {
  return query === CONTEXT_BASE_ALLOCATION || query === 'base:';
}

function transmissionFlags(isReadOnly: boolean, structuredReplies: boolean): number {
  const always =
    FLAG_HAS_FLAGS | FLAG_SEND_FLUSH | FLAG_SEND_FUA | FLAG_CAN_MULTI_CONN | FLAG_SEND_CACHE;
  const access = isReadOnly
    ? FLAG_READ_ONLY
    : FLAG_SEND_TRIM | FLAG_SEND_WRITE_ZEROES | FLAG_SEND_FAST_ZERO;
  return always | access | (structuredReplies ? FLAG_SEND_DF : 0);
}

function describe(device: BlockDevice): Omit<ExportDescription, 'description'> {
  return { name: device.name, sizeBytes: device.sizeBytes, isReadOnly: device.isReadOnly };
}

/** The replies to NBD_OPT_INFO and NBD_OPT_GO that succeed. */
function encodeInfos(request: OpenRequest, found: ExportDescription, flags: number): Buffer {
  const { option, infoTypes } = request;
  const replies = [encodeInfoExport(option, found.sizeBytes, flags)];
  if (infoTypes.includes(INFO_NAME)) replies.push(encodeInfoText(option, INFO_NAME, found.name));
  if (infoTypes.includes(INFO_DESCRIPTION)) {
    replies.push(encodeInfoText(option, INFO_DESCRIPTION, found.description));
  }
  if (infoTypes.includes(INFO_BLOCK_SIZE)) replies.push(encodeInfoBlockSize(option));
  replies.push(encodeAck(option));
  return Buffer.concat(replies);
}

/** NBD_OPT_EXPORT_NAME cannot be answered with an error; the session ends instead. */
function optionFailure(option: number, error: number, text: string): HandshakeAnswer {
  return option === OPT_EXPORT_NAME
    ? { kind: 'violation', reason: `NBD_OPT_EXPORT_NAME: ${text}` }
    : { kind: 'reply', bytes: encodeOptionError(option, error, text) };
}

function unexpectedData(option: number): HandshakeAnswer {
  return optionFailure(option, REP_ERR_INVALID, 'this option takes no data');
}

function unknownExport(option: number, exportName: string): HandshakeAnswer {
  return optionFailure(option, REP_ERR_UNKNOWN, `there is no export '${exportName}'`);
}

function tooBig(option: number, lengthBytes: number): HandshakeAnswer {
  return optionFailure(option, REP_ERR_TOO_BIG, `${lengthBytes} bytes of data are too many`);
}
