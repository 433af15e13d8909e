/**
 * The one error type for failures that are expected.
 *
 * Owns: the kinds, and carrying a cause along. Does not own: what a protocol makes of a kind;
 * each protocol has one file that maps kinds to its wire codes.
 * A broken assumption is not a DroverError: it is a bug, and an `AssertionError` ends the process.
 */

/**
 * - `notFound`: the named thing does not exist
 * - `exists`: the thing to be made exists already
 * - `busy`: in use; the caller may try again later or force it
 * - `invalid`: the request breaks a rule that its sender could have known
 * - `outOfSpace`: no room for the write; it may succeed after space is freed
 * - `fenced`: the writer's epoch is over; it must stop
 * - `conflict`: the version found is not the version expected
 * - `corrupt`: bytes do not match their checksum, or a format rule is broken
 * - `unavailable`: the part asked cannot serve now: it is failed, closed or unreachable
 * - `readOnly`: a change to something that may only be read
 */
export type DroverErrorKind =
  | 'notFound'
  | 'exists'
  | 'busy'
  | 'invalid'
  | 'outOfSpace'
  | 'fenced'
  | 'conflict'
  | 'corrupt'
  | 'unavailable'
  | 'readOnly';

export class DroverError extends Error {
  readonly kind: DroverErrorKind;

  constructor(kind: DroverErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'DroverError';
    this.kind = kind;
  }
}

/** True for a DroverError, of the given kind if one is given. */
export function isDroverError(error: unknown, kind?: DroverErrorKind): error is DroverError {
  return error instanceof DroverError && (kind === undefined || error.kind === kind);
}

/** The message of anything that was thrown, with the messages of its causes. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) {
    return String(error);
  }
  return error.cause === undefined
    ? error.message
    : `${error.message}: ${describeError(error.cause)}`;
}
