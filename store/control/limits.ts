/**
 * Every limit of the control plane, with its arithmetic.
 */

/** An embedded commit takes a few milliseconds; a disk that needs longer than this has failed. */
export const COMMIT_TIMEOUT_MS = 5_000;

/** How often a copy of the embedded records that is behind is written again. */
export const STALE_COPY_RETRY_MS = 5_000;

/** 128 random bits: two control planes never have the same. */
export const CLUSTER_ID_BYTES = 16;

/** Reading and swapping a record again after a conflict; each conflict is another's success. */
export const SWAP_ATTEMPTS_MAX = 32;

/** 32 bits of epoch: one attach a second for 136 years. */
export const EPOCH_MAX = 2 ** 32 - 1;

/** What a call to etcd may take, reconnecting included. */
export const ETCD_CALL_TIMEOUT_MS = 5_000;

/**
 * How often a connection in use is tried out, and how long the answer may take: a frozen member is
 * noticed within 15 s. etcd drops clients that ask more often than every 5 s.
 */
export const ETCD_KEEPALIVE_MS = 10_000;
export const ETCD_KEEPALIVE_TIMEOUT_MS = 5_000;

/** A member that was restarted is used again within a second. */
export const ETCD_RECONNECT_MS_MIN = 100;
export const ETCD_RECONNECT_MS_MAX = 1_000;

/** A listing of 100,000 records of 600 bytes. */
export const ETCD_ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** A third of its time after each renewal: two may fail, and the session lives on. */
export const SESSION_RENEWALS_PER_TTL = 3;
export const SESSION_RETRY_MS = 250;

/** Between the end of a watch's stream and the listing that begins the next. */
export const WATCH_RETRY_MS = 250;
