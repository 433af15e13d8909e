/**
 * What `drover serve` can be told, and what it does where it is told nothing.
 */
import type { Command } from 'commander';
import { z } from 'zod';
import { addCopyOptions, addDiskOptions, type DiskConfig, readDiskConfig } from './disk-config.ts';
import { listOption } from './options.ts';

export interface ServeConfig extends DiskConfig {
  /** One store node in each; `undefined`: the default ones. */
  readonly dataDirectories: readonly string[] | undefined;
}

export const DATA_ROOT_DEFAULT = './drover-data';
export const DATA_DIRECTORIES_DEFAULT = [1, 2, 3].map((number) => `${DATA_ROOT_DEFAULT}/${number}`);

const directorySchema = z.string().min(1, 'the path of a directory');

export function addServeOptions(command: Command): Command {
  const places = `${DATA_ROOT_DEFAULT}/1, /2 and /3`;
  command.addOption(
    listOption(
      '--data <dir>',
      `where a copy of everything is kept, best each on its own disk; may be repeated (default: ${places})`,
      directorySchema,
    ),
  );
  addDiskOptions(command, ' (default: disk0=10G if there is no volume)');
  return addCopyOptions(command, 'one for each directory, three at most');
}

export function readServeConfig(command: Command): ServeConfig {
  const { data } = command.opts<{ readonly data?: readonly string[] }>();
  return { ...readDiskConfig(command), dataDirectories: data };
}
