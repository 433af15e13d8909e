/**
 * What the figures were measured on: machine, kernel, versions, and the raw disk's own speed.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { commandLineOf, runCommand } from './process.ts';

export interface MachineFacts {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly rawDisk: { readonly syncedWritesPerSecond: number; readonly commandLine: string };
}

async function firstLine(command: string, args: readonly string[]): Promise<string> {
  return (await runCommand(command, args)).split('\n')[0] ?? '';
}

async function rawDisk(directory: string): Promise<MachineFacts['rawDisk']> {
  const file = path.join(directory, 'raw-disk');
  const output = path.join(directory, 'raw-disk.json');
  const options = ['--name=raw', '--ioengine=psync', '--rw=randwrite', '--bs=4k', '--fdatasync=1'];
  const bound = ['--size=256M', '--runtime=5', '--time_based=1', `--filename=${file}`];
  const args = [...options, ...bound];
  await runCommand('fio', [...args, '--output-format=json', `--output=${output}`]);
  const text = fs.readFileSync(output, 'utf8');
  const report = JSON.parse(text.slice(text.indexOf('{'))) as {
    jobs: { write: { iops: number } }[];
  };
  fs.rmSync(file);
  return {
    syncedWritesPerSecond: report.jobs[0]?.write.iops ?? 0,
    commandLine: commandLineOf('fio', args),
  };
}

export async function machineFacts(directory: string): Promise<MachineFacts> {
  return {
    processor: os.cpus()[0]?.model ?? 'unknown',
    cores: os.cpus().length,
    memoryBytes: os.totalmem(),
    kernel: os.release(),
    versions: {
      node: process.version,
      fio: await firstLine('fio', ['--version']),
      nbdkit: await firstLine('nbdkit', ['--version']),
      'qemu-nbd': await firstLine('qemu-nbd', ['--version']),
    },
    rawDisk: await rawDisk(directory),
  };
}

/** As a list of Markdown. */
export function machineLines(machine: MachineFacts): string[] {
  const { processor, cores, memoryBytes, kernel, rawDisk: disk } = machine;
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  const memory = `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  return [
    `- machine: ${processor}, ${cores} cores, ${memory}, Linux ${kernel}`,
    `- versions: ${versions.join(', ')}`,
    `- raw disk: ${disk.syncedWritesPerSecond.toFixed(0)} synced 4 KiB writes/s (\`${disk.commandLine}\`)`,
  ];
}
