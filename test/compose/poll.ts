/**
 * Waiting for what another program will do in its own time.
 */
const POLL_MS = 1000;

/** Asks until `holds` says so. Error: not within the limit; the last answer is in its message. */
export async function pollUntil<T>(
  what: string,
  limitMs: number,
  ask: () => Promise<T>,
  holds: (answer: T) => boolean,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  let last = 'nothing';
  while (performance.now() < endMs) {
    try {
      const answer = await ask();
      if (holds(answer)) return answer;
      last = JSON.stringify(answer);
    } catch (error) {
      last = String(error);
    }
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
    });
  }
  throw new Error(`${what}: not within ${limitMs} ms; last: ${last}`);
}
