/**
 * `drover serve` as a process.
 */
import { EmbeddedServer } from './embedded-server.ts';
import { runProgram } from './program.ts';
import type { ServeConfig } from './serve-config.ts';

/** Errors: CommandFailure if it could not start, or not stop cleanly. */
export function serve(config: ServeConfig): Promise<void> {
  return runProgram(config.logLevel, (parts) => EmbeddedServer.open({ ...parts, config }));
}
