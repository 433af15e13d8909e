/**
 * Repeatable randomness for tests.
 *
 * Owns: a small generator whose seed is printed with a test, so that a failing run can be made
 * again with `DROVER_TEST_SEED=<seed>`. Not for anything that must be unpredictable.
 */
import { randomBytes } from 'node:crypto';

export class SeededRandom {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#state = this.seed;
  }

  /** 32 unpredictable-looking bits (mulberry32: its whole state is one word). */
  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A number in [0, 1). */
  fraction(): number {
    return this.uint32() / 2 ** 32;
  }

  /** A whole number in [0, endExclusive). */
  below(endExclusive: number): number {
    return Math.floor(this.fraction() * endExclusive);
  }

  /** A whole number in [min, max]. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  bytes(byteCount: number): Buffer {
    const bytes = Buffer.allocUnsafe(byteCount);
    let at = 0;
    for (; at + 4 <= byteCount; at += 4) bytes.writeUInt32LE(this.uint32(), at);
    for (; at < byteCount; at++) bytes[at] = this.uint32() & 0xff;
    return bytes;
  }
}

/** The seed asked for by `DROVER_TEST_SEED`, or a fresh one; printed with the test. */
export function randomForTest(t: { log(message: string): void }): SeededRandom {
  const asked = process.env['DROVER_TEST_SEED'];
  const seed = asked === undefined ? randomBytes(4).readUInt32LE() : Number(asked);
  t.log(`DROVER_TEST_SEED=${seed}`);
  return new SeededRandom(seed);
}
