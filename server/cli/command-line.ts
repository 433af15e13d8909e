/**
 * All commands of `drover`, and what each way to end means as an exit status.
 *
 * 0: done; 1: it could not be done, said in one line on stderr; 2: the command line is wrong.
 */
import { Command, CommanderError } from 'commander';
import { describeError } from '../../store/runtime/drover-error.ts';
import { CommandFailure } from './command-failure.ts';
import { addGatewayCommand } from './gateway-command.ts';
import { addServeCommand } from './serve-command.ts';
import { addStatusCommands } from './status-commands.ts';
import { addStoreCommand } from './store-command.ts';
import { DROVER_VERSION } from './version.ts';
import { addVolumeCommands } from './volume-commands.ts';

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;

function program(): Command {
  const drover = new Command('drover')
    .description('Block devices over NBD, kept in a replicated object store.')
    .version(DROVER_VERSION)
    .exitOverride();
  addServeCommand(drover);
  addStoreCommand(drover);
  addGatewayCommand(drover);
  addVolumeCommands(drover);
  addStatusCommands(drover);
  return drover;
}

/** Runs the command line given as in `process.argv`; resolves to the exit status. */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(argv);
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (!(error instanceof CommandFailure)) throw error;
    console.error(`error: ${describeError(error)}`);
    return EXIT_FAILED;
  }
}
