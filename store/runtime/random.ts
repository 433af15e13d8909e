/**
 * Randomness as an argument: the interface, and the real source.
 * A simulation passes a seeded source with the same interface.
 */
import { randomFillSync } from 'node:crypto';

export interface Random {
  /** `byteCount` unpredictable bytes. */
  bytes(byteCount: number): Buffer;
  /** A number in [0, 1). */
  fraction(): number;
}

export const systemRandom: Random = {
  bytes: (byteCount) => randomFillSync(Buffer.allocUnsafe(byteCount)),
  fraction: () => Math.random(),
};
