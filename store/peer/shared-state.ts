/**
 * What all connections of one server share: spare buffers, counters, and the limit of what they
 * hold together.
 *
 * Owns: which connections wait for room, and waking them. Does not own: what one connection holds.
 */
import type { BusyPoll } from '../runtime/busy-poll.ts';
import { BufferPool } from './buffer-pool.ts';
import { POOLED_BYTES_MAX } from './limits.ts';

/** A connection that stopped reading because too much is held. */
export interface HaltedReader {
  mayGoOn(): boolean;
  goOn(): void;
}

export class SharedState {
  readonly pool = new BufferPool(POOLED_BYTES_MAX);
  readonly heldBytesMax: number;
  readonly busyPoll: BusyPoll;
  heldBytes = 0;
  requests = 0;
  errors = 0;
  corruptRequests = 0;
  connectionsBroken = 0;
  halts = 0;
  receivedBytes = 0;
  sentBytes = 0;
  /** Sessions that wait for room that others hold, oldest first. */
  readonly #halted = new Set<HaltedReader>();

  constructor(heldBytesMax: number, busyPoll: BusyPoll) {
    this.busyPoll = busyPoll;
    this.heldBytesMax = heldBytesMax;
  }

  halted(session: HaltedReader): void {
    this.halts += 1;
    this.#halted.add(session);
  }

  /** Hot path. Bytes were given back: sessions that waited for them go on. */
  released(): void {
    if (this.#halted.size > 0) this.wake();
  }

  wake(): void {
    for (const session of this.#halted) {
      if (!session.mayGoOn()) continue;
      this.#halted.delete(session);
      session.goOn();
    }
  }

  forget(session: HaltedReader): void {
    this.#halted.delete(session);
  }
}
