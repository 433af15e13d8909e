/**
 * The command `drover gateway`.
 */
import type { Command } from 'commander';
import { addGatewayOptions, readGatewayConfig } from './gateway-config.ts';

export function addGatewayCommand(drover: Command): void {
  const command = drover
    .command('gateway')
    .description('serve the volumes of a cluster of store nodes');
  addGatewayOptions(command).action(async () => {
    // Loaded only here: the other commands are quick, and need none of what a server consists of.
    const { runProgram } = await import('./program.ts');
    const { GatewayServer } = await import('./gateway-server.ts');
    const config = readGatewayConfig(command);
    await runProgram(config.logLevel, (parts) => GatewayServer.open({ ...parts, config }));
  });
}
