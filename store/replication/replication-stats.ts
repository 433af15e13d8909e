/**
 * Figures of one attached volume's replication, as plain numbers for the metrics.
 */
export class ReplicationStats {
  writes = 0;
  failedWrites = 0;
  reads = 0;
  hedgedReads = 0;
  /** Reads asked again because a write was acknowledged meanwhile. */
  repeatedReads = 0;
  /** Answers `fenced`: a node was told a higher epoch. */
  refusedEpochs = 0;
  leaseLosses = 0;
  resyncBytes = 0;
  resyncedObjects = 0;
  /** Objects whose copies differed and were made equal: at attach, or after a failed write. */
  reconciledObjects = 0;
}
