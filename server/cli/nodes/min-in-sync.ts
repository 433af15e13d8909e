/**
 * How many copies must be in sync for a write to be answered, unless the operator says it.
 *
 * A majority, so that a write that was answered survives the loss of a minority. Two copies have no
 * majority but both: then one goes on alone when the other is lost, which is what a second copy is
 * kept for; the in-sync set in the control plane sees to it that the lost one does not come back
 * with old data.
 */
import { minInSyncOf } from '../../../store/control/replica-set-record.ts';

export function minInSyncFor(copies: number, wanted: number | undefined): number {
  if (wanted !== undefined) return Math.min(wanted, copies);
  return copies === 2 ? 1 : minInSyncOf(copies);
}
