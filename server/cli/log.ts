/**
 * Logs: JSON lines on stderr, made by pino.
 */
import { destination, type Logger as PinoLogger, pino } from 'pino';
import type { LogLevel } from './disk-config.ts';

/** Something is broken inside (EX_SOFTWARE of sysexits.h). */
const EXIT_BUG = 70;

export function makeLog(level: LogLevel): PinoLogger {
  // Written at once, so that the last words before a crash are not lost with a buffer.
  const stderr = destination({ fd: 2, sync: true });
  // With nobody left to read the log there is nobody to tell; serving goes on.
  stderr.on('error', () => {});
  return pino({ level, base: null }, stderr);
}

/** A bug ends the process with a last log line: going on could damage data. */
export function endOnBug(log: PinoLogger): void {
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'drover stops because of a bug');
    process.exit(EXIT_BUG);
  });
  // The reader of the ready text may be gone (`| head`); that is no reason to stop.
  process.stdout.on('error', () => {});
}
