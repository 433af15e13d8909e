/**
 * `drover volume …`: the volume API of a running server, for people and for scripts.
 *
 * Owns the options and what is printed: a table, or the API's own JSON with `--json`.
 */
import { Argument, type Command } from 'commander';
import { objectSizeSchema, volumeNameSchema } from '../../store/control/volume-record.ts';
import {
  BLOCK_BYTES,
  OBJECT_BYTES_MAX,
  OBJECT_BYTES_MIN,
  VOLUME_BYTES_MAX,
} from '../../store/geometry.ts';
import type { VerifyMessage } from '../http/verify-stream.ts';
import type { VolumeStatus } from '../http/volume-api.ts';
import { CommandFailure } from './command-failure.ts';
import { argument, switchOption, switchValue, valueOption } from './options.ts';
import { addJsonOption, addServerOption, apiClient, printer } from './server-option.ts';
import { sizeSchema } from './size.ts';
import { VerifyProgressLine } from './verify-progress.ts';
import { READ_ONLY, READ_WRITE, volumeTable } from './volume-table.ts';

const volumeSizeText = sizeSchema(BLOCK_BYTES, VOLUME_BYTES_MAX);
const objectSizeText = sizeSchema(OBJECT_BYTES_MIN, OBJECT_BYTES_MAX).pipe(objectSizeSchema);

type Answer = VolumeStatus | readonly VolumeStatus[];

function volumePrinter(command: Command): (answer: Answer) => void {
  return printer(command, (answer) => volumeTable(Array.isArray(answer) ? answer : [answer]));
}

function subcommand(volume: Command, nameAndArguments: string, description: string): Command {
  return addServerOption(volume.command(nameAndArguments).description(description));
}

function addNameArgument(command: Command): Command {
  return command.argument('<name>', 'the volume', argument(volumeNameSchema));
}

function sizeOption() {
  return valueOption('--size <size>', 'as in 20G', volumeSizeText).makeOptionMandatory();
}

export function addVolumeCommands(drover: Command): void {
  const volume = drover
    .command('volume')
    .description('make, see, change, verify and remove volumes');

  addJsonOption(addNameArgument(subcommand(volume, 'create', 'make a volume')))
    .addOption(sizeOption())
    .addOption(
      valueOption('--object-size <size>', 'a power of two from 64K to 16M', objectSizeText),
    )
    .addOption(switchOption('--read-only', 'clients cannot write it'))
    .action(async (name: string, _options: unknown, command: Command) => {
      const { size, objectSize } = command.opts<{ size: number; objectSize?: number }>();
      const isReadOnly = switchValue(command, 'readOnly');
      const print = volumePrinter(command);
      const objects = objectSize === undefined ? {} : { objectBytes: objectSize };
      print(await apiClient(command).create({ name, sizeBytes: size, isReadOnly, ...objects }));
    });

  addJsonOption(subcommand(volume, 'ls', 'list all volumes')).action(
    async (_options: unknown, command: Command) => {
      const print = volumePrinter(command);
      print(await apiClient(command).list());
    },
  );

  addJsonOption(addNameArgument(subcommand(volume, 'show', 'show one volume'))).action(
    async (name: string, _options: unknown, command: Command) => {
      const print = volumePrinter(command);
      print(await apiClient(command).show(name));
    },
  );

  addJsonOption(addNameArgument(subcommand(volume, 'resize', 'make a volume larger')))
    .addOption(sizeOption())
    .action(async (name: string, _options: unknown, command: Command) => {
      const print = volumePrinter(command);
      print(await apiClient(command).resize(name, command.getOptionValue('size') as number));
    });

  addJsonOption(
    addNameArgument(
      subcommand(volume, 'access', 'say whether clients that connect from now on may write'),
    ),
  )
    .addArgument(new Argument('<access>', 'from now on').choices([READ_ONLY, READ_WRITE]))
    .action(async (name: string, access: string, _options: unknown, command: Command) => {
      const print = volumePrinter(command);
      print(await apiClient(command).setReadOnly(name, access === READ_ONLY));
    });

  addNameArgument(subcommand(volume, 'rm', 'remove a volume and its data'))
    .addOption(switchOption('--force', 'detach the clients that use it'))
    .action(async (name: string, _options: unknown, command: Command) => {
      await apiClient(command).remove(name, switchValue(command, 'force'));
    });

  addJsonOption(addNameArgument(subcommand(volume, 'verify', 'compare the copies of a volume')))
    .addOption(switchOption('--deep', 'read every block, and compare it with its checksum'))
    .action(async (name: string, _options: unknown, command: Command) => {
      const print = printer(command, verifyText);
      const isDeep = switchValue(command, 'deep');
      const line = new VerifyProgressLine(process.stderr);
      const report = await apiClient(command)
        .verify(name, isDeep, (progress) => line.show(progress))
        .finally(() => line.clear());
      print(report);
      if (report.differenceCount > 0) throw new CommandFailure(`the copies of ${name} differ`);
    });
}

function verifyText({ nodeIds, objects, differences, differenceCount }: VerifyMessage): string {
  const compared = `compared ${objects} objects on ${nodeIds.join(', ')}`;
  if (differenceCount === 0) return `${compared}: all copies are identical`;
  const more = differenceCount - differences.length;
  return [
    `${compared}: ${differenceCount} differences`,
    ...differences.map((one) => `  object ${one.objectIndex} on ${one.nodeId}: ${one.what}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
  ].join('\n');
}
