/**
 * Every limit of the peer protocol, with the arithmetic of its worst case.
 *
 * Owns the numbers. A limit that is about time is in milliseconds and can be changed by an option
 * of the client or server; a limit that is about sizes is part of the protocol.
 */
import { BLOCK_BYTES, OBJECT_BYTES_MAX } from '../geometry.ts';

export const OBJECT_BLOCKS_MAX = OBJECT_BYTES_MAX / BLOCK_BYTES;

/** The data of one frame: at most one object, so 16 MiB. */
export const PAYLOAD_BYTES_MAX = OBJECT_BYTES_MAX;

/**
 * What stands before the data in one frame. The largest is a write of every second block of the
 * largest object: 48 bytes, 4096 extents of 6, 4096 checksums of 4, that is 41,008 bytes.
 */
export const META_BYTES_MAX = 64 * 1024;

/** Before the greeting is over: four names of 64 bytes, 512 bytes of credentials, 34 bytes more. */
export const GREETING_META_BYTES_MAX = 1024;
export const NAME_BYTES_MAX = 64;
export const CREDENTIAL_BYTES_MAX = 512;
export const ERROR_MESSAGE_BYTES_MAX = 1024;

/** Entries of one answer to `listVersions`: 16 bytes each, so 4 MiB. The client asks again for more. */
export const VERSION_PAGE_MAX = 256 * 1024;
/** Layers of one answer to `listLayers`: 8 bytes each, one full payload. */
export const LAYERS_MAX = PAYLOAD_BYTES_MAX / 8;

/** What one client has asked of one node and not been answered. */
export interface InFlightLimits {
  /** Payload sent plus payload asked for. One frame may go beyond it. */
  readonly heldBytesMax: number;
  readonly requestsMax: number;
}

/** 64 MiB is half a second of a 1 Gbit/s link; 4096 requests of 4 KiB are 16 MiB. */
export const CLIENT_IN_FLIGHT: InFlightLimits = {
  heldBytesMax: 64 * 1024 * 1024,
  requestsMax: 4096,
};

/** Calls that wait for room in flight; they hold nothing but references to their caller's bytes. */
export const WAITING_CALLS_MAX = 64 * 1024;

/**
 * For each connection a server holds at most this and one frame more. It tells the client in its
 * welcome, so one that keeps to it is never halted.
 */
export const CONNECTION_IN_FLIGHT: InFlightLimits = CLIENT_IN_FLIGHT;

/** For all connections of a server together, and one frame more for each connection. */
export const SERVER_HELD_BYTES_MAX = 256 * 1024 * 1024;

/** A connection that is halted keeps what was received and not decoded: one receive buffer. */
export const CONNECTIONS_MAX = 128;

/**
 * Payload of requests and of answers lies in pieces of this size, each mapped for itself, in buffers
 * of up to the other size: a write of 16 MiB is 64 of them, one of 252 KiB is 6, where memory is cut
 * up more; one vectored write takes 1000. A piece that was lent in every possible way has 2000
 * buffers, 0.3 MiB.
 */
export const PAYLOAD_PIECE_BYTES = 4 * 1024 * 1024;
export const PAYLOAD_BUFFER_BYTES_MAX = 256 * 1024;

/**
 * Spare memory that a server keeps: what one client may have in flight, so that one gateway never
 * needs fresh memory. All of it together is what was held at once (`SERVER_HELD_BYTES_MAX`, and a
 * frame for each connection) at most, and as much again where requests failed.
 */
export const POOLED_BYTES_MAX = 64 * 1024 * 1024;

/** Frames are gathered in pieces of this size; the largest head fits. */
export const SLAB_BYTES = 128 * 1024;
/** Payload buffers up to this size are copied behind their head, larger ones are sent in place. */
export const COPIED_PAYLOAD_BYTES_MAX = 8 * 1024;
/** Spare slabs kept by one connection. */
export const SPARE_SLABS_MAX = 4;

export const CONNECT_LIMIT_MS = 3000;
export const GREETING_LIMIT_MS = 3000;
/** An attempt to connect that has no answer after this is silent, not refused: a slow round trip. */
export const ATTEMPT_ANSWER_MS = 500;
/** When nothing was received for this long, the node is asked for a sign of life. */
export const PING_INTERVAL_MS = 1000;
/** Nothing at all received for this long, though asked: the connection is given up. */
export const SILENT_LIMIT_MS = 5000;
export const BACKOFF_MIN_MS = 50;
export const BACKOFF_MAX_MS = 1000;
/** A server drops a connection without progress after this; a living client pings every second. */
export const IDLE_LIMIT_MS = 60_000;

/** A copy from node to node reads its source in pieces of this size. */
export const COPY_PIECE_BYTES = 1024 * 1024;
/** And gives up when the source leaves one piece unanswered for this long. */
export const COPY_ANSWER_LIMIT_MS = 5000;
/** Memory kept for the next copies: replication makes four at once, of objects of 4 MiB mostly. */
export const COPY_POOLED_BYTES_MAX = 16 * 1024 * 1024;
