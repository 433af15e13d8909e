/**
 * Large volumes without their terabytes: the nodes of a stopped Drover are filled with objects.
 */
import path from 'node:path';
import { z } from 'zod';
import type { RunningDrover } from '../drover-servers.ts';
import { runCommand } from '../process.ts';

const PROGRAM = path.join(import.meta.dirname, 'generate-node.ts');

const volumesSchema = z.object({
  volumes: z.array(
    z.object({ id: z.int(), name: z.string(), sizeBytes: z.int(), objectBytes: z.int() }),
  ),
});

export interface MadeVolume {
  readonly id: number;
  readonly sizeBytes: number;
  readonly objectBytes: number;
}

/** Of a server that runs, before it is stopped for the generator. */
export async function madeVolume(server: RunningDrover, name: string): Promise<MadeVolume> {
  const response = await fetch(`${server.httpUrl}/v1/volumes`);
  const { volumes } = volumesSchema.parse(await response.json());
  const volume = volumes.find((one) => one.name === name);
  if (volume === undefined) throw new Error(`there is no volume ${name}`);
  return volume;
}

/** Fills each directory with a block of data at every `spacingBytes`; two at once on two cores. */
export async function generate(
  nodeDirectories: readonly string[],
  volume: MadeVolume,
  spacingBytes: number,
): Promise<void> {
  const { id, objectBytes, sizeBytes } = volume;
  const numbers = [id, objectBytes, sizeBytes, spacingBytes].map(String);
  const left = [...nodeDirectories];
  const fillNext = async (): Promise<void> => {
    for (let directory = left.shift(); directory !== undefined; directory = left.shift()) {
      await runCommand(process.execPath, [PROGRAM, directory, ...numbers]);
    }
  };
  await Promise.all([fillNext(), fillNext()]);
}
