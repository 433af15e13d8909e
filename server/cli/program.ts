/**
 * The life of a server process, until a signal or a fatal failure ends it.
 *
 * Owns: what is printed, and the ways to end. What is in the process is opened by its caller.
 */
import type { Logger } from 'pino';
import { systemClock } from '../../store/runtime/clock.ts';
import { CommandFailure } from './command-failure.ts';
import type { LogLevel } from './disk-config.ts';
import { endOnBug, makeLog } from './log.ts';
import { StopSequence } from './stop-sequence.ts';
import { StopSignals } from './stop-signals.ts';
import { DROVER_VERSION } from './version.ts';

const EXIT_GAVE_UP = 1;

export interface ProgramParts {
  readonly version: string;
  readonly log: Logger;
  /** Closes, in order, what was opened; also when opening the next part failed. */
  readonly stop: StopSequence;
  /** A signal came while the process starts: what waits for others gives up. */
  readonly isStopWanted: () => boolean;
}

export interface ReadyProgram {
  /** Printed when clients may come; its last line says so. */
  readonly readyText: string;
  /** From now on it is not ready; what was begun goes on. */
  refuseNewWork(): void;
  /** Rejects when the process must end by itself, with a CommandFailure. */
  readonly fatal?: Promise<never>;
}

/** Errors: CommandFailure if it could not start, or not stop cleanly. */
export async function runProgram(
  logLevel: LogLevel,
  open: (parts: ProgramParts) => Promise<ReadyProgram>,
): Promise<void> {
  const log = makeLog(logLevel);
  endOnBug(log);
  const stop = new StopSequence();
  const signals = new StopSignals({
    source: process,
    clock: systemClock,
    waitingFor: () => stop.waitingFor(),
    say: (line) => console.error(`drover: ${line}`),
    exit: () => process.exit(EXIT_GAVE_UP),
  });
  let isStopWanted = false;
  signals.first.then(() => {
    isStopWanted = true;
  });
  let program: ReadyProgram;
  try {
    program = await open({ version: DROVER_VERSION, log, stop, isStopWanted: () => isStopWanted });
  } catch (error) {
    await stop.stop();
    throw error;
  }
  console.log(program.readyText);
  const fatal = program.fatal?.catch((error: unknown) => ({ error }));
  const end = await Promise.race([signals.first, ...(fatal === undefined ? [] : [fatal])]);
  if (typeof end === 'string') log.info({ signal: end }, 'stopping');
  program.refuseNewWork();
  const failures = await stop.stop();
  if (typeof end !== 'string') throw end.error;
  if (failures.length > 0) throw new CommandFailure(`did not stop cleanly: ${failures.join('; ')}`);
  log.info({}, 'stopped, everything is durable');
}
