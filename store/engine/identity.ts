/**
 * `identity.json`: whose directory this is, and in which format.
 *
 * Owns: making and checking it. Invariant: it is written last when a directory is made, so a
 * directory that has one is complete.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { BLOCK_BYTES } from '../geometry.ts';
import type { Disk } from '../runtime/disk.ts';
import { DroverError } from '../runtime/drover-error.ts';
import { FORMAT_VERSION } from './layouts.ts';

const FORMAT_NAME = 'drover-store-node';

const versionSchema = z.object({ format: z.literal(FORMAT_NAME), formatVersion: z.int() });

const idSchema = z.string().regex(/^[0-9a-f]{32}$/, '32 hexadecimal digits');

const identitySchema = versionSchema.extend({
  nodeId: idSchema,
  /**
   * Random: a node that lost its directory and made a new one has another, and so has a directory
   * that was found to lack what it had.
   */
  directoryId: idSchema,
  /** The name that the opener gave the node when the directory was made; for people. */
  name: z.string(),
  segmentBytes: z
    .int()
    .min(16 * BLOCK_BYTES)
    .max(2 ** 16 * BLOCK_BYTES)
    .multipleOf(BLOCK_BYTES),
  createdAt: z.iso.datetime(),
});

export type Identity = z.infer<typeof identitySchema>;

/** How far the log of a directory goes; batch numbers grow by one over the directory's life. */
export interface DirectoryState {
  readonly directoryId: string;
  /** The number of the next batch: all before it are durable. */
  readonly batchSeq: number;
}

export function identityPath(directory: string): string {
  return join(directory, 'identity.json');
}

/** `undefined` if the directory has none. Errors: `invalid`, `corrupt`. */
export async function readIdentity(
  disk: Disk,
  directory: string,
  expectedNodeId: string | undefined,
): Promise<Identity | undefined> {
  const bytes = await disk.readSmallFile(identityPath(directory));
  if (bytes === undefined) return undefined;
  const json = parse(bytes, directory);
  const version = versionSchema.safeParse(json);
  if (!version.success) {
    throw new DroverError('corrupt', `${identityPath(directory)} is not one of a store node`);
  }
  if (version.data.formatVersion !== FORMAT_VERSION) {
    throw new DroverError(
      'invalid',
      `${directory} has format version ${version.data.formatVersion}; this program knows version ${FORMAT_VERSION}`,
    );
  }
  const identity = identitySchema.safeParse(json);
  if (!identity.success) {
    throw new DroverError(
      'corrupt',
      `${identityPath(directory)} is damaged: ${z.prettifyError(identity.error)}`,
    );
  }
  if (expectedNodeId !== undefined && identity.data.nodeId !== expectedNodeId) {
    throw new DroverError(
      'invalid',
      `${directory} belongs to node ${identity.data.nodeId}, not to node ${expectedNodeId}`,
    );
  }
  return identity.data;
}

export async function writeIdentity(
  disk: Disk,
  directory: string,
  identity: Omit<Identity, 'format' | 'formatVersion'>,
): Promise<Identity> {
  const whole: Identity = { format: FORMAT_NAME, formatVersion: FORMAT_VERSION, ...identity };
  const text = `${JSON.stringify(whole, null, 2)}\n`;
  await disk.replaceSmallFile(identityPath(directory), Buffer.from(text));
  return whole;
}

function parse(bytes: Buffer, directory: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new DroverError('corrupt', `${identityPath(directory)} is not JSON`, error);
  }
}
