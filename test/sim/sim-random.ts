/**
 * The `Random` of a simulated process, from a seed.
 */
import type { Random } from '../../store/runtime/random.ts';
import type { SeededRandom } from '../support/seeded-random.ts';

export function simRandom(random: SeededRandom): Random {
  return {
    bytes: (byteCount) => random.bytes(byteCount),
    fraction: () => random.fraction(),
  };
}
