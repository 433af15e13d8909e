/**
 * What `drover gateway` can be told, and what it does where it is told nothing.
 */
import type { Command } from 'commander';
import { type ControlAddress, controlOption } from './control-address.ts';
import { addCopyOptions, addDiskOptions, type DiskConfig, readDiskConfig } from './disk-config.ts';
import { nodeIdSchema } from './nodes/node-record.ts';
import { valueOption } from './options.ts';

export interface GatewayConfig extends DiskConfig {
  readonly id: string;
  readonly control: ControlAddress;
}

export function addGatewayOptions(command: Command): Command {
  command
    .addOption(
      valueOption(
        '--id <id>',
        'the name of this gateway; no two may have the same',
        nodeIdSchema,
      ).makeOptionMandatory(),
    )
    .addOption(controlOption().makeOptionMandatory());
  addDiskOptions(command, '');
  return addCopyOptions(command, '3');
}

export function readGatewayConfig(command: Command): GatewayConfig {
  const { id, control } = command.opts<{ readonly id: string; readonly control: ControlAddress }>();
  return { ...readDiskConfig(command), id, control };
}
