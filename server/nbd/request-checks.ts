/**
 * What a request may ask for: flags, bounds, access.
 *
 * Owns: the one place that refuses a request for what it says. Does not own: sending the answer.
 * A request that passes lies within the export, so that everything below may assume it.
 */
import { PAYLOAD_BYTES_MAX } from './limits.ts';
import {
  CMD_BLOCK_STATUS,
  CMD_CACHE,
  CMD_FLAG_DF,
  CMD_FLAG_FAST_ZERO,
  CMD_FLAG_FUA,
  CMD_FLAG_NO_HOLE,
  CMD_FLAG_REQ_ONE,
  CMD_FLUSH,
  CMD_READ,
  CMD_TRIM,
  CMD_WRITE,
  CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_EPERM,
} from './wire.ts';

export interface Request {
  readonly command: number;
  readonly flags: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Not exact above 2^53, which is beyond every export. */
  readonly offset: number;
  readonly lengthBytes: number;
}

/** The export and the handshake, as far as they decide what is allowed. */
export interface RequestTerms {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly structuredReplies: boolean;
  readonly baseAllocation: boolean;
}

export interface Refusal {
  readonly error: number;
  readonly text: string;
}

/** NBD, "Command flags". FUA is accepted with every command and matters to those that write. */
function allowedFlags(command: number, terms: RequestTerms): number {
  switch (command) {
    case CMD_READ:
      return CMD_FLAG_FUA | (terms.structuredReplies ? CMD_FLAG_DF : 0);
    case CMD_WRITE_ZEROES:
      return CMD_FLAG_FUA | CMD_FLAG_NO_HOLE | CMD_FLAG_FAST_ZERO;
    case CMD_BLOCK_STATUS:
      return CMD_FLAG_FUA | CMD_FLAG_REQ_ONE;
    default:
      return CMD_FLAG_FUA;
  }
}

export function isWriting(command: number): boolean {
  return command === CMD_WRITE || command === CMD_TRIM || command === CMD_WRITE_ZEROES;
}

function isKnown(command: number): boolean {
  return (
    isWriting(command) ||
    command === CMD_READ ||
    command === CMD_FLUSH ||
    command === CMD_CACHE ||
    command === CMD_BLOCK_STATUS
  );
}

function refuse(error: number, text: string): Refusal {
  return { error, text };
}

/** `undefined` for a request that may be carried out. NBD_CMD_DISC is not asked about. */
export function checkRequest(request: Request, terms: RequestTerms): Refusal | undefined {
  const { command, flags, lengthBytes } = request;
  if (!isKnown(command)) return refuse(NBD_EINVAL, `unknown command ${command}`);
  if ((flags & ~allowedFlags(command, terms)) !== 0) {
    return refuse(NBD_EINVAL, `flags 0x${flags.toString(16)} do not go with command ${command}`);
  }
  if (isWriting(command) && terms.isReadOnly) return refuse(NBD_EPERM, 'the export is read-only');
  if (command === CMD_BLOCK_STATUS && !terms.baseAllocation) {
    return refuse(NBD_EINVAL, 'no metadata context was negotiated for this export');
  }
  if (command === CMD_READ && lengthBytes > PAYLOAD_BYTES_MAX) {
    // The specification has NBD_EOVERFLOW for reads only where NBD_CMD_FLAG_DF is supported.
    const error = terms.structuredReplies ? NBD_EOVERFLOW : NBD_EINVAL;
    return refuse(error, `${lengthBytes} bytes are more than one request may read`);
  }
  if (command === CMD_WRITE && lengthBytes > PAYLOAD_BYTES_MAX) {
    return refuse(NBD_EINVAL, `${lengthBytes} bytes are more than one request may write`);
  }
  return checkRange(request, terms);
}

function checkRange(request: Request, terms: RequestTerms): Refusal | undefined {
  const { command, offset, lengthBytes } = request;
  if (command === CMD_FLUSH) {
    const isEmpty = offset === 0 && lengthBytes === 0;
    return isEmpty ? undefined : refuse(NBD_EINVAL, 'a flush has neither offset nor length');
  }
  // As floating-point numbers the sum of 64 and 32 bits cannot overflow.
  if (offset + lengthBytes > terms.sizeBytes) {
    // For TRIM the specification asks for NBD_EINVAL in one place and treats it as a write in
    // others; here everything that changes the export past its end gets the same answer.
    const error = isWriting(command) ? NBD_ENOSPC : NBD_EINVAL;
    return refuse(error, 'the range goes past the end of the export');
  }
  if (command === CMD_BLOCK_STATUS && lengthBytes === 0) {
    return refuse(NBD_EINVAL, 'an extent of no bytes cannot be described');
  }
  return undefined;
}
