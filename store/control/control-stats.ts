/**
 * What one user of a control plane asked of it, and what became of it, as plain numbers for the
 * metrics.
 *
 * Owns the counts. Does not own the calls: each implementation counts its own.
 */
import type { Clock } from '../runtime/clock.ts';
import { isDroverError } from '../runtime/drover-error.ts';
import { Histogram, LATENCY_BOUNDS_SECONDS } from '../runtime/histogram.ts';

/** `session` is the start of one; its renewals are counted apart. */
export const CONTROL_OPERATIONS = ['get', 'list', 'commit', 'watch', 'session'] as const;
export type ControlOperation = (typeof CONTROL_OPERATIONS)[number];

/** `conflict` is no failure: another's change came between, and whoever asked looks again. */
export const CONTROL_OUTCOMES = ['ok', 'conflict', 'fenced', 'unavailable', 'failed'] as const;
export type ControlOutcome = (typeof CONTROL_OUTCOMES)[number];

function outcomeOf(error: unknown): ControlOutcome {
  for (const kind of ['conflict', 'fenced', 'unavailable'] as const) {
    if (isDroverError(error, kind)) return kind;
  }
  return 'failed';
}

class OperationStats {
  readonly latencySeconds = new Histogram(LATENCY_BOUNDS_SECONDS);
  readonly outcomes: Record<ControlOutcome, number> = {
    ...{ ok: 0, conflict: 0, fenced: 0, unavailable: 0, failed: 0 },
  };
}

export class ControlStats {
  readonly operations: Readonly<Record<ControlOperation, OperationStats>> = {
    get: new OperationStats(),
    list: new OperationStats(),
    commit: new OperationStats(),
    watch: new OperationStats(),
    session: new OperationStats(),
  };
  /** Times that changes did not come by themselves any more, and all was listed again. */
  watchInterruptions = 0;
  renewals = 0;
  /** Renewals that were not answered in time; they are tried again. */
  failedRenewals = 0;
  /** Sessions that the control plane ended, with everything that was bound to them. */
  sessionLosses = 0;

  /** Does what `ask` does, and counts it. */
  async measured<T>(clock: Clock, operation: ControlOperation, ask: () => Promise<T>): Promise<T> {
    const startedMs = clock.nowMs();
    const stats = this.operations[operation];
    let outcome: ControlOutcome = 'ok';
    try {
      return await ask();
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      stats.outcomes[outcome] += 1;
      stats.latencySeconds.observe((clock.nowMs() - startedMs) / 1000);
    }
  }
}
