/**
 * The scope of a whole test file: what its tests share is cleaned up when the last one is over.
 */
import type { TestScope } from '../support/temp-folder.ts';

export class FileScope implements TestScope {
  readonly #cleanups: (() => unknown)[] = [];

  teardown(clean: () => unknown): void {
    this.#cleanups.push(clean);
  }

  log(message: string): void {
    console.error(message);
  }

  /** The last one first; all of them, whatever fails. Error: what failed. */
  async end(): Promise<void> {
    const failures: unknown[] = [];
    for (const clean of this.#cleanups.splice(0).toReversed()) {
      try {
        await clean();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('\n'));
  }
}
