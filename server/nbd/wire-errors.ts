/**
 * What Drover's failures are called in the NBD protocol.
 *
 * Owns: the one translation of error kinds, for requests and for options.
 */
import type { DroverErrorKind } from '../../store/runtime/drover-error.ts';
import {
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_EPERM,
  REP_ERR_INVALID,
  REP_ERR_POLICY,
  REP_ERR_UNKNOWN,
} from './wire.ts';

/**
 * Most kinds have no word in the protocol and become NBD_EIO, which every client takes as "this
 * request failed". `fenced` is one of them: NBD_ESHUTDOWN would be truer, but clients that know it
 * end the session with requests in flight, and the kernel makes EIO of it anyway.
 */
export const REQUEST_ERROR_BY_KIND: Readonly<Record<DroverErrorKind, number>> = {
  notFound: NBD_EIO,
  exists: NBD_EIO,
  busy: NBD_EIO,
  invalid: NBD_EINVAL,
  outOfSpace: NBD_ENOSPC,
  fenced: NBD_EIO,
  conflict: NBD_EIO,
  corrupt: NBD_EIO,
  unavailable: NBD_EIO,
  readOnly: NBD_EPERM,
};

/** For an export that cannot be opened. NBD_REP_ERR_UNKNOWN says "not available". */
export const OPTION_ERROR_BY_KIND: Readonly<Record<DroverErrorKind, number>> = {
  notFound: REP_ERR_UNKNOWN,
  exists: REP_ERR_UNKNOWN,
  busy: REP_ERR_POLICY,
  invalid: REP_ERR_INVALID,
  outOfSpace: REP_ERR_UNKNOWN,
  fenced: REP_ERR_UNKNOWN,
  conflict: REP_ERR_UNKNOWN,
  corrupt: REP_ERR_UNKNOWN,
  unavailable: REP_ERR_UNKNOWN,
  readOnly: REP_ERR_POLICY,
};
