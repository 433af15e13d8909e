/**
 * The command `drover serve`.
 */
import type { Command } from 'commander';
import { addServeOptions, readServeConfig } from './serve-config.ts';

export function addServeCommand(drover: Command): void {
  const command = drover
    .command('serve')
    .description('serve volumes from a directory of this machine');
  addServeOptions(command).action(async () => {
    // Loaded only here: the other commands are quick, and need none of what a server consists of.
    const { serve } = await import('./serve.ts');
    await serve(readServeConfig(command));
  });
}
