/**
 * Closing what was opened, in the reverse order, once, and as a whole.
 *
 * Owns the order and the account of failures. Invariant: a step that fails does not keep the later
 * ones from running: what can still be made safe is made safe.
 */
import { describeError } from '../../store/runtime/drover-error.ts';

interface StopStep {
  /** Completes "waiting for …". */
  readonly waitsFor: () => string;
  readonly run: () => Promise<void>;
}

export class StopSequence {
  readonly #steps: StopStep[] = [];
  #current: StopStep | undefined;
  #stopping: Promise<string[]> | undefined;

  /** What `run` does is done before everything that was added earlier. */
  add(waitsFor: () => string, run: () => Promise<void>): void {
    this.#steps.push({ waitsFor, run });
  }

  /** What the stop is waiting for at this moment. */
  waitingFor(): string {
    return this.#current?.waitsFor() ?? 'the start to end';
  }

  /** Runs all steps; resolves to what failed, one line each. Asked again, it is the same stop. */
  stop(): Promise<string[]> {
    this.#stopping ??= this.#runAll();
    return this.#stopping;
  }

  async #runAll(): Promise<string[]> {
    const failures: string[] = [];
    for (const step of this.#steps.reverse()) {
      this.#current = step;
      const waitedFor = step.waitsFor();
      try {
        await step.run();
      } catch (error) {
        failures.push(`${waitedFor}: ${describeError(error)}`);
      }
    }
    return failures;
  }
}
