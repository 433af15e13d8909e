/**
 * The command `drover store`.
 */
import type { Command } from 'commander';
import { addStoreOptions, readStoreConfig } from './store-config.ts';

export function addStoreCommand(drover: Command): void {
  const command = drover.command('store').description('keep copies of volumes, as one store node');
  addStoreOptions(command).action(async () => {
    // Loaded only here: the other commands are quick, and need none of what a server consists of.
    const { runProgram } = await import('./program.ts');
    const { StoreServer } = await import('./store-server.ts');
    const config = readStoreConfig(command);
    await runProgram(config.logLevel, (parts) => StoreServer.open({ ...parts, config }));
  });
}
