/**
 * Puts the kinds of blocks together to runs of one allocation state.
 *
 * Invariants: neighbouring runs differ; there are `runsMax` of them at most.
 */

import { BlockKind } from '../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { AllocationRun } from './block-device.ts';

export class AllocationRuns {
  readonly #runsMax: number;
  readonly #runs: AllocationRun[] = [];
  #kind: number | undefined;
  #bytes = 0;

  constructor(runsMax: number) {
    this.#runsMax = runsMax;
  }

  /** Nothing that is added changes the result any more. */
  get isFull(): boolean {
    return this.#runs.length >= this.#runsMax;
  }

  addHole(bytes: number): void {
    this.#add(BlockKind.hole, bytes);
  }

  /** `bytes` from `within` bytes into the first block on. */
  addBlocks(kinds: Uint8Array, within: number, bytes: number): void {
    let at = within;
    const end = within + bytes;
    for (let block = 0; at < end; block += 1) {
      const next = Math.min(end, (block + 1) * BLOCK_BYTES);
      this.#add(kinds[block]!, next - at);
      at = next;
    }
  }

  take(): AllocationRun[] {
    this.#endRun();
    return this.#runs;
  }

  #add(kind: number, bytes: number): void {
    if (kind !== this.#kind) this.#endRun();
    this.#kind = kind;
    this.#bytes += bytes;
  }

  #endRun(): void {
    if (this.#bytes > 0 && !this.isFull) {
      this.#runs.push({
        lengthBytes: this.#bytes,
        isHole: this.#kind === BlockKind.hole,
        isZero: this.#kind !== BlockKind.data,
      });
    }
    this.#bytes = 0;
  }
}
