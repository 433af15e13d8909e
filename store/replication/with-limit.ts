/** A limit on how long a node is waited for. */
import type { Clock } from '../runtime/clock.ts';
import { DroverError } from '../runtime/drover-error.ts';

/** `promise`, or an `unavailable` error after `limitMs`; what was asked for may still happen. */
export function withLimit<T>(
  clock: Clock,
  limitMs: number,
  what: string,
  promise: Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimer(limitMs, () =>
      reject(new DroverError('unavailable', `${what}: no answer within ${limitMs} ms`)),
    );
    promise.then(
      (value) => {
        timer.cancel();
        resolve(value);
      },
      (error: unknown) => {
        timer.cancel();
        reject(error);
      },
    );
  });
}
