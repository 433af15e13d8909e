/**
 * What a client counts about one node.
 *
 * Owns: the numbers and how one latency is counted. Does not own: choosing a node by them, nor how
 * a scrape prints them.
 */
import { Histogram, LATENCY_BOUNDS_SECONDS } from '../runtime/histogram.ts';

/** The share of the newest latency: about the last eight count. */
const EWMA_SHARE = 1 / 8;

export class OperationStats {
  answers = 0;
  errors = 0;
  /** Weighted mean of the latest latencies, from sending to the answer; 0 before the first. */
  ewmaMs = 0;
  readonly latencySeconds = new Histogram(LATENCY_BOUNDS_SECONDS);

  /** Hot path. */
  observe(latencyMs: number): void {
    this.answers += 1;
    this.ewmaMs =
      this.answers === 1 ? latencyMs : this.ewmaMs + (latencyMs - this.ewmaMs) * EWMA_SHARE;
    this.latencySeconds.observe(latencyMs / 1000);
  }
}

export class PeerClientStats {
  readonly write = new OperationStats();
  readonly read = new OperationStats();
  /** All other operations. */
  readonly other = new OperationStats();
  receivedBytes = 0;
  sentBytes = 0;
  /** Connections that were welcomed, and attempts that were not. */
  connects = 0;
  connectFailures = 0;
  /** Calls that were sent a second time, after a connection was lost. */
  resends = 0;
  abandonedCalls = 0;
}
