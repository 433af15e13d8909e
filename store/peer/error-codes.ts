/**
 * What a failure is called on the wire: the kinds of `DroverError` and their codes.
 *
 * Owns the mapping, both ways. A code, once given, keeps its meaning.
 */
import { DroverError, type DroverErrorKind, describeError } from '../runtime/drover-error.ts';
import { ERROR_MESSAGE_BYTES_MAX } from './limits.ts';

export const STATUS_OK = 0;

const CODES: Readonly<Record<DroverErrorKind, number>> = {
  notFound: 1,
  exists: 2,
  busy: 3,
  invalid: 4,
  outOfSpace: 5,
  fenced: 6,
  conflict: 7,
  corrupt: 8,
  unavailable: 9,
  readOnly: 10,
};

/** Sent for a failure that has no kind: the peer's own trouble, not the request's. */
const CODE_UNKNOWN = CODES.unavailable;

const KINDS = new Map(
  (Object.entries(CODES) as [DroverErrorKind, number][]).map(([kind, code]) => [code, kind]),
);

export function statusOf(error: unknown): number {
  return error instanceof DroverError ? CODES[error.kind] : CODE_UNKNOWN;
}

/** The message that travels, with those of the causes, cut to what a frame may carry. */
export function messageOf(error: unknown): Buffer {
  const message = Buffer.from(describeError(error), 'utf8');
  return message.length <= ERROR_MESSAGE_BYTES_MAX
    ? message
    : message.subarray(0, ERROR_MESSAGE_BYTES_MAX);
}

/** A code of a newer peer that this program does not know is `unavailable`. */
export function errorOf(status: number, message: string, nodeId: string): DroverError {
  const kind = KINDS.get(status);
  return kind === undefined
    ? new DroverError('unavailable', `node ${nodeId}: error ${status}: ${message}`)
    : new DroverError(kind, `node ${nodeId}: ${message}`);
}
