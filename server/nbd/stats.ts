/**
 * What the NBD server counts.
 *
 * Owns: counters by command, error and connection. Does not own: how a scrape prints them.
 * Invariants: counting allocates nothing; counters only grow, except `connectionsOpen`.
 */
import assert from 'node:assert/strict';
import { Histogram, LATENCY_BOUNDS_SECONDS } from '../../store/runtime/histogram.ts';
import {
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_ESHUTDOWN,
} from './wire.ts';

/** Index = NBD_CMD_ value; the last one gathers every unknown command. */
export const COMMAND_NAMES = [
  'read',
  'write',
  'disconnect',
  'flush',
  'trim',
  'cache',
  'write_zeroes',
  'block_status',
  'unknown',
] as const;
const COMMAND_UNKNOWN = COMMAND_NAMES.length - 1;

/** The errors that a reply of ours can carry, in the order of `errors`. */
export const ERROR_NAMES = ['EPERM', 'EIO', 'EINVAL', 'ENOSPC', 'EOVERFLOW', 'ESHUTDOWN'] as const;
const ERROR_VALUES = [
  NBD_EPERM,
  NBD_EIO,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_ESHUTDOWN,
] as const;

export class NbdStats {
  /** Requests answered, errors included; index: command. */
  readonly requests = new Float64Array(COMMAND_NAMES.length);
  /** Length of the requests answered without error; for FLUSH nothing. */
  readonly requestBytes = new Float64Array(COMMAND_NAMES.length);
  /** Seconds from the arrival of a request to its reply; index: command. */
  readonly durations: readonly Histogram[] = COMMAND_NAMES.map(
    () => new Histogram(LATENCY_BOUNDS_SECONDS),
  );
  readonly #errors = new Float64Array(COMMAND_NAMES.length * ERROR_NAMES.length);
  connectionsOpen = 0;
  connectionsAccepted = 0;
  /** Closed at once because there were too many. */
  connectionsRefused = 0;
  /** Ended by us for a breach of the protocol or a handshake that took too long. */
  connectionsFaulted = 0;

  /** `command` indexes `COMMAND_NAMES`, `error` indexes `ERROR_NAMES`. */
  errorCount(command: number, error: number): number {
    return this.#errors[command * ERROR_NAMES.length + error]!;
  }

  /** Hot path. Requests of one command that were carried out, each in `seconds`. */
  countSuccess(command: number, count: number, bytes: number, seconds: number): void {
    this.requests[command]! += count;
    this.requestBytes[command]! += bytes;
    const duration = this.durations[command]!;
    for (let i = 0; i < count; i += 1) duration.observe(seconds);
  }

  /** A request that was answered with an error (an NBD error value). */
  countError(command: number, error: number, seconds: number): void {
    const row = Math.min(command, COMMAND_UNKNOWN);
    const column = (ERROR_VALUES as readonly number[]).indexOf(error);
    assert(column >= 0, `error ${error} is not counted`);
    this.requests[row]! += 1;
    this.durations[row]!.observe(seconds);
    this.#errors[row * ERROR_NAMES.length + column]! += 1;
  }
}
