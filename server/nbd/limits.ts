/**
 * Every limit of the NBD server.
 *
 * What one connection may hold, at worst: its receive buffer, which grows to the largest request
 * (32 MiB + header), and `heldBytesMax` of staged payload and unsent replies, overrun by the one
 * request that was let in below the limit (32 MiB): 96 MiB. Staged payload counts with the buffer it
 * lies in; unsent replies count with their bytes and lie in buffers of less than twice that
 * (`buffer-pool.ts`: powers of two), besides the one being filled (1 MiB): 33 MiB more if all that
 * is held are replies of a bad size that the client does not take. One that has not chosen an export
 * holds 64 KiB of option data, 64 KiB of unsent replies in two buffers of that size and, while
 * those wait, what arrived in one turn (513 KiB), for 10 seconds. An idle one holds none of these.
 *
 * What all may hold: `heldBytesTotalMax`, above which a connection is let in only while it holds
 * less than `heldBytesAssured` itself; so one that reads no replies takes nobody's turn away. The
 * overrun and the receive buffers come on top, for the connections that use them at that moment,
 * and 32 MiB of free buffers that wait for the next who needs one.
 */
import { BUSY_POLL, type BusyPollTimes } from '../../store/runtime/busy-poll.ts';

/** NBD, "Size constraints": what every server should support, and what we announce. */
export const PAYLOAD_BYTES_MAX = 32 * 1024 * 1024;
export const BLOCK_BYTES_MIN = 1;
export const BLOCK_BYTES_PREFERRED = 4096;

/** NBD, "Conventions": strings must be no longer. */
export const STRING_BYTES_MAX = 4096;
/** Fits the longest name and a dozen queries of any length; more is drained, not held. */
export const OPTION_DATA_BYTES_MAX = 64 * 1024;
/** An error's text is a sentence, not a dump. */
export const ERROR_TEXT_CHARS_MAX = 256;

/** Descriptors in one BLOCK_STATUS reply, 8 bytes each; the client asks on where it ends. */
export const EXTENTS_MAX = 16 * 1024;

export interface NbdLimits {
  /** Connections of the process, those in the handshake included. */
  readonly connectionsMax: number;
  /** From accept to the choice of an export; our own attaching does not count. */
  readonly handshakeMsMax: number;
  /** Requests of one connection that are carried out at once. */
  readonly requestsMax: number;
  /** Staged payload and unsent replies of one connection. */
  readonly heldBytesMax: number;
  /** What a connection may hold whatever the others do. */
  readonly heldBytesAssured: number;
  /** Staged payload and unsent replies of all connections. */
  readonly heldBytesTotalMax: number;
  /** Unsent replies of a connection in the handshake. */
  readonly handshakeReplyBytesMax: number;
  /** How long a connection that is ending waits for the client to take the last replies. */
  readonly lastRepliesMsMax: number;
  /** How long it then waits for the client to close its side too. */
  readonly lingerMs: number;
  /** How long the process stays awake for what comes next (`busy-poll.ts`). */
  readonly busyPoll: BusyPollTimes;
}

export const DEFAULT_LIMITS: NbdLimits = {
  connectionsMax: 256,
  handshakeMsMax: 10_000,
  requestsMax: 1024,
  heldBytesMax: 32 * 1024 * 1024,
  heldBytesAssured: 1024 * 1024,
  heldBytesTotalMax: 128 * 1024 * 1024,
  handshakeReplyBytesMax: 64 * 1024,
  lastRepliesMsMax: 10_000,
  lingerMs: 1000,
  busyPoll: BUSY_POLL,
};
