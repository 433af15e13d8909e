/**
 * The life of an engine.
 *
 * `opening` until replay is over; `open` serves; `failed` after the disk refused a write: reads go
 * on, nothing is written any more; `closing` lets what was queued finish; `closed` is the end.
 */
import assert from 'node:assert';

export type EngineStateName = 'opening' | 'open' | 'failed' | 'closing' | 'closed';

const LEGAL_MOVES: Readonly<Record<EngineStateName, readonly EngineStateName[]>> = {
  opening: ['open', 'closed'],
  open: ['failed', 'closing'],
  failed: ['closing'],
  closing: ['closed'],
  closed: [],
};

export class EngineLife {
  #state: EngineStateName = 'opening';

  get state(): EngineStateName {
    return this.#state;
  }

  moveTo(next: EngineStateName): void {
    const legal = LEGAL_MOVES[this.#state];
    assert(
      legal.includes(next),
      `an engine that is ${this.#state} cannot become ${next}, only ${legal.join(' or ')}`,
    );
    this.#state = next;
  }
}
