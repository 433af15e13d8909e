/**
 * A place in the log: where a batch starts, and the number that the batch there has.
 */

export interface LogPosition {
  readonly segmentId: number;
  /** In blocks from the start of the segment; block 0 is the segment's header. */
  readonly position: number;
  /** The sequence number of the batch that starts (or will start) here. */
  readonly batchSeq: number;
}
