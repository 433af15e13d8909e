/**
 * Reads ava's TAP output line by line: what passed, what failed and why, and how to print it.
 *
 * A skipped test and one that is still to be written count as failed: they prove nothing.
 * Invariant: lines belong to the failure above them until the next result.
 */
const RESULT = /^(not ok|ok) \d+ - (.*)$/;
const UNPROVEN = / # (?:SKIP|TODO)\b/;
const TAP_ONLY = /^(?:TAP version|1\.\.\d+$|# (?:tests|pass|skip|todo|fail) \d+$)/;
const HOOK = /^# \S+ hook for /;

/** A test may log the whole output of a server; what it printed last says most. */
const LOG_LINES_MAX = 40;

export interface Failure {
  readonly title: string;
  /** What ava printed of it. */
  readonly reason: string[];
}

export class TapTally {
  passed = 0;
  failed = 0;
  readonly failures: Failure[] = [];
  #explained: Failure | undefined;

  /** Counts one line; returns what is to be printed of it, if anything. */
  take(line: string): string | undefined {
    if (TAP_ONLY.test(line)) return undefined;
    const result = line.match(RESULT);
    if (result === null) {
      this.#explain(line);
      return line;
    }
    this.#explained = undefined;
    const title = result[2]!;
    if (result[1] === 'ok' && !UNPROVEN.test(title)) {
      this.passed += 1;
      return `  ✔ ${title}`;
    }
    this.#explained = this.fail(title);
    return `  ✘ ${title}`;
  }

  fail(title: string): Failure {
    const failure = { title, reason: [] };
    this.failed += 1;
    this.failures.push(failure);
    return failure;
  }

  /** Every failure with its reason, for the end of a long output. */
  report(): string {
    const lines = this.failures.flatMap(({ title, reason }) => [`  ✘ ${title}`, ...reason]);
    return ['Failed:', ...lines].join('\n');
  }

  #explain(line: string): void {
    const reason = this.#explained?.reason;
    if (reason === undefined || line === '' || HOOK.test(line)) return;
    reason.push(line);
    const logLines = reason.filter(isLog);
    if (logLines.length > LOG_LINES_MAX) reason.splice(reason.findIndex(isLog), 1);
  }
}

function isLog(line: string): boolean {
  return line.startsWith('#');
}
