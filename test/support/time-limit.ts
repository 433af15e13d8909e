/**
 * Time limits and waiting: a test that hangs says what it waited for.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** `promise`, or an error naming `what` after `limitMs`. */
export async function withinTime<T>(
  what: string,
  limitMs: number,
  promise: Promise<T>,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks `condition` again and again until it holds; an error naming `what` after `limitMs`. */
export async function eventually(
  what: string,
  limitMs: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${limitMs} ms`);
    await sleep(20);
  }
}
