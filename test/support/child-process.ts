/**
 * Other programs, as tests run them: bounded in time, their output kept for the failure message.
 *
 * Owns: the processes it starts. Each dies with the test's process, whatever way that ends
 * (`setpriv --pdeathsig`), so that a test that was itself killed leaves no server behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import type { TestScope } from './temp-folder.ts';
import { eventually, withinTime } from './time-limit.ts';

/** Enough to see why a program failed; a chatty one must not fill the test's memory. */
const OUTPUT_CHARS_MAX = 1024 * 1024;
const FREEZE_LIMIT_MS = 10_000;

export interface ChildOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string;
}

export interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface CommandResult extends ExitStatus {
  readonly stdout: string;
  readonly stderr: string;
}

export class RunningProgram {
  readonly commandLine: string;
  readonly exit: Promise<ExitStatus>;
  stdout = '';
  stderr = '';
  status: ExitStatus | undefined;
  readonly #child: ChildProcess;
  #spawnError: Error | undefined;

  constructor(command: string, args: readonly string[], options: ChildOptions = {}) {
    this.commandLine = [command, ...args].join(' ');
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], {
      env: { ...process.env, ...options.env },
      cwd: options.cwd,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout = (this.stdout + text).slice(-OUTPUT_CHARS_MAX);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-OUTPUT_CHARS_MAX);
    });
    // A program that ends without reading its input is judged by its exit status, not by EPIPE.
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
    child.on('error', (error) => {
      this.#spawnError = error;
    });
    this.exit = once(child, 'close').then(([code, signal]) => {
      this.status = { code, signal };
      return this.status;
    });
    this.exit.catch(() => {});
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw this.failure('did not start');
    return this.#child.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Stops every thread where it is; the signal alone leaves them running for a little while. */
  async freeze(): Promise<void> {
    this.kill('SIGSTOP');
    await eventually(`${this.commandLine} to stand still`, FREEZE_LIMIT_MS, async () => {
      const tasks = `/proc/${this.pid}/task`;
      const stats = (await readdir(tasks)).map((id) => readFile(`${tasks}/${id}/stat`, 'utf8'));
      // The state stands behind the name, which is in parentheses and may hold anything.
      return (await Promise.all(stats)).every((stat) => /\) T [^)]*$/.test(stat));
    });
  }

  thaw(): void {
    this.kill('SIGCONT');
  }

  /** Waits for the end; at the limit kills it and throws. */
  async ended(limitMs: number): Promise<ExitStatus> {
    try {
      return await withinTime(`end of ${this.commandLine}`, limitMs, this.exit);
    } catch (error) {
      this.kill('SIGKILL');
      throw this.failure((error as Error).message);
    }
  }

  /** Waits until `stdout` or `stderr` matches; throws if the program ends first, or at the limit. */
  async printed(pattern: RegExp, limitMs: number): Promise<RegExpMatchArray> {
    const endMs = performance.now() + limitMs;
    for (;;) {
      const match = this.stdout.match(pattern) ?? this.stderr.match(pattern);
      if (match !== null) return match;
      if (this.status !== undefined) throw this.failure(`ended without printing ${pattern}`);
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) throw this.failure(`did not print ${pattern} within ${limitMs} ms`);
      await new Promise((resolve) => {
        setTimeout(resolve, Math.min(leftMs, 5));
      });
    }
  }

  failure(what: string): Error {
    const status =
      this.status === undefined
        ? 'still running'
        : `code ${this.status.code}, signal ${this.status.signal}`;
    const cause = this.#spawnError === undefined ? '' : `\n${this.#spawnError.message}`;
    return new Error(
      `${this.commandLine}: ${what} (${status})${cause}\n` +
        `--- stdout\n${this.stdout.slice(-4000)}\n--- stderr\n${this.stderr.slice(-4000)}`,
    );
  }
}

/** Starts a program that is killed when the test is over. */
export function startProgram(
  t: TestScope,
  command: string,
  args: readonly string[],
  options: ChildOptions = {},
): RunningProgram {
  const program = new RunningProgram(command, args, options);
  t.teardown(async () => {
    if (program.status !== undefined) return;
    program.kill('SIGKILL');
    await program.ended(10_000);
  });
  return program;
}

/** Runs a program to its end, whatever its exit status. */
export async function runToEnd(
  limitMs: number,
  command: string,
  args: readonly string[],
  options: ChildOptions = {},
): Promise<CommandResult> {
  const program = new RunningProgram(command, args, options);
  const status = await program.ended(limitMs);
  return { ...status, stdout: program.stdout, stderr: program.stderr };
}

/** Runs a program that must succeed; returns what it printed on stdout. */
export async function run(
  limitMs: number,
  command: string,
  args: readonly string[],
  options: ChildOptions = {},
): Promise<string> {
  const program = new RunningProgram(command, args, options);
  const status = await program.ended(limitMs);
  if (status.code !== 0) throw program.failure('failed');
  return program.stdout;
}
