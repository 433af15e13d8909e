/**
 * Reads ava's TAP output line by line: what passed, what failed, and how to print it.
 *
 * A skipped test and one that is still to be written count as failed: they prove nothing.
 */
const RESULT = /^(not ok|ok) \d+ - (.*)$/;
const UNPROVEN = / # (?:SKIP|TODO)\b/;
const TAP_ONLY = /^(?:TAP version|1\.\.\d+$|# (?:tests|pass|skip|todo|fail) \d+$)/;

export class TapTally {
  passed = 0;
  failed = 0;
  readonly failures: string[] = [];

  /** Counts one line; returns what is to be printed of it, if anything. */
  take(line: string): string | undefined {
    if (TAP_ONLY.test(line)) return undefined;
    const result = line.match(RESULT);
    if (result === null) return line;
    const title = result[2]!;
    if (result[1] === 'ok' && !UNPROVEN.test(title)) {
      this.passed += 1;
      return `  ✔ ${title}`;
    }
    this.fail(title);
    return `  ✘ ${title}`;
  }

  fail(title: string): void {
    this.failed += 1;
    this.failures.push(title);
  }
}
