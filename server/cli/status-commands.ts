/**
 * `drover status` and `drover node ls`: the state of a running cluster, once or live.
 */
import type { Command } from 'commander';
import { pause } from '../../store/runtime/clock.ts';
import { describeError } from '../../store/runtime/drover-error.ts';
import { CommandFailure } from './command-failure.ts';
import { switchOption, switchValue } from './options.ts';
import { addJsonOption, addServerOption, apiClient } from './server-option.ts';
import { nodeTable, statusText } from './status-table.ts';

const WATCH_INTERVAL_MS = 1_000;
/** Cursor to the top left, and everything below it cleared. */
const CLEAR_SCREEN = '\x1b[H\x1b[2J';

/** Prints what `look` finds, once or again and again until the command is ended. */
async function show<T>(
  command: Command,
  look: () => Promise<T>,
  format: (found: T) => string,
): Promise<void> {
  const isJson = switchValue(command, 'json');
  const text = (found: T, indent: number) =>
    isJson ? JSON.stringify(found, null, indent) : format(found);
  if (!switchValue(command, 'watch')) {
    console.log(text(await look(), 2));
    return;
  }
  const clear = !isJson && process.stdout.isTTY ? CLEAR_SCREEN : '';
  for (;;) {
    // A server that restarts is waited for.
    const shown = await look().then(
      (found) => text(found, 0),
      (error: unknown) => {
        if (!(error instanceof CommandFailure)) throw error;
        return isJson ? JSON.stringify({ error: describeError(error) }) : describeError(error);
      },
    );
    console.log(`${clear}${shown}${isJson || clear !== '' ? '' : '\n'}`);
    await pause(WATCH_INTERVAL_MS);
  }
}

function addWatchOption(command: Command): Command {
  return command.addOption(switchOption('--watch', 'print it again every second'));
}

export function addStatusCommands(drover: Command): void {
  const status = drover.command('status').description('volumes with their copies, and nodes');
  addWatchOption(addJsonOption(addServerOption(status))).action(async () => {
    const client = apiClient(status);
    await show(status, () => client.status(), statusText);
  });

  const list = drover
    .command('node')
    .description('see the store nodes')
    .command('ls')
    .description('list all store nodes');
  addWatchOption(addJsonOption(addServerOption(list))).action(async () => {
    const client = apiClient(list);
    await show(list, () => client.nodes(), nodeTable);
  });
}
