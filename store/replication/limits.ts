/**
 * Every limit of replication, with the arithmetic of its worst case.
 *
 * Owns the numbers. Times are in milliseconds and can be changed by the options of an attach.
 */

/** What an owner or operator may choose for the replication of a volume. */
export interface ReplicationTimes {
  /** A node that refuses connections for longer than this is taken out. */
  readonly refusedLimitMs: number;
  /** A node that owes an answer for longer than this is taken out. */
  readonly silentLimitMs: number;
  /** Writes that wait for copies fail after this; `undefined`: they wait as long as the lease lasts. */
  readonly stallTimeoutMs: number | undefined;
  /** A lease is over so much before the control plane says so: drift, and what is on its way. */
  readonly leaseMarginMs: number;
}

export const REPLICATION_TIMES: ReplicationTimes = {
  refusedLimitMs: 1000,
  silentLimitMs: 5000,
  stallTimeoutMs: undefined,
  leaseMarginMs: 1000,
};

/** How often nodes, waiting writes and the lease are looked at. */
export const WATCH_INTERVAL_MS = 100;
/**
 * A watch that comes so late was held up by its own process (a stopped process, a blocked event
 * loop); the answers may be waiting in its sockets, so nobody is judged for this long.
 */
export const WATCH_LATE_MS = 1000;

/** A second copy is asked when the first has not answered after this, at least. */
export const HEDGE_MIN_MS = 10;
/** How often reads under way are looked at. */
export const HEDGE_TICK_MS = 5;
/** One read in so many goes to the next copy in turn, so that every latency stays known. */
export const EXPLORE_EVERY = 32;
/** Small reads of one turn of the event loop go to one copy, up to 64 KiB of them. */
export const TOGETHER_BLOCKS_MAX = 16;
/** A read whose expected version changes under it so often is given up as `conflict`. */
export const READ_ROUNDS_MAX = 64;

/**
 * Private buffers that reads are received in, kept for the next reads: eight reads of 2 MiB. What
 * is in use is bounded by the reads under way, which the cache bounds.
 */
export const SCRATCH_KEPT_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Changed blocks remembered for each node that is away: a bitmap of 128 bytes for an object of
 * 4 MiB and about as much for its entry, so 16 MiB for each node. An object beyond is copied whole.
 */
export const DELTA_OBJECTS_MAX = 64 * 1024;

/** Objects copied at once to one returning node, and at once for differences found at attach. */
export const COPIES_AT_ONCE = 4;
/** What one returning node is sent in a second, unless the operator says otherwise. */
export const RESYNC_BYTES_PER_SECOND = 256 * 1024 * 1024;
/** Objects looked at in one go when a returning node is compared. */
export const VERSION_PAGE_OBJECTS = 16 * 1024;
/** A resync that failed is tried again after this, doubled each time up to the maximum. */
export const RESYNC_BACKOFF_MIN_MS = 200;
export const RESYNC_BACKOFF_MAX_MS = 10_000;
/**
 * Objects with a block that no copy can be read of are tried again after this, each read whole:
 * what else the disk may still give, or a write of the guest, cures them.
 */
export const UNREADABLE_RETRY_MS = 10_000;
/** A copy of one object that is not answered after this has failed. */
export const COPY_LIMIT_MS = 30_000;

/** The control plane is asked again after this when it could not be reached. */
export const CONTROL_RETRY_MS = 200;

/** Objects compared at once by a verification. */
export const VERIFY_AT_ONCE = 8;
/** Differences named by a verification; more are only counted. */
export const VERIFY_NAMED_MAX = 1000;

/** How often a steward looks for volumes that lack copies. */
export const STEWARD_INTERVAL_MS = 2000;
/** A volume is given back when its resync gets no further for this long; it is looked at again. */
export const STEWARD_STUCK_MS = 30_000;
/** Volumes tended at once: each holds a version table, and resyncs at its own rate. */
export const STEWARD_VOLUMES_MAX = 4;
