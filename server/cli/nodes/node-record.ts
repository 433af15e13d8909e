/**
 * What a store node tells of itself through the control plane: two records, and their keys.
 *
 * `nodes/ID` stays when the node is gone: its address is needed for as long as volumes have copies
 * on it. `node-sessions/ID` is bound to the node's session: it says that the node lives, and which
 * opening of its directory it is.
 */
import { z } from 'zod';

export const NODES_PREFIX = 'nodes/';
export const NODE_SESSIONS_PREFIX = 'node-sessions/';

/** Node ids are names in records, command lines and metric labels. */
export const nodeIdSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'a letter or digit, then up to 62 letters, digits, dots, dashes or underscores',
  );

export const nodeRecordSchema = z.object({
  nodeId: nodeIdSchema,
  /** Of the data: another one is a node that has nothing of what it had. */
  directoryId: z.string(),
  address: z.object({ host: z.string(), port: z.int() }),
  zone: z.string(),
  capacityBytes: z.int(),
  liveBytes: z.int(),
  freeBytes: z.int(),
  objectCount: z.int(),
  /** When it last told of itself, by its own clock; for people. */
  seenAt: z.iso.datetime(),
  /** Why it takes no writes; empty while it does. */
  failure: z.string(),
});

export type NodeRecord = z.infer<typeof nodeRecordSchema>;

export const nodeSessionSchema = z.object({ openId: z.string() });

export function nodeKey(nodeId: string): string {
  return `${NODES_PREFIX}${nodeId}`;
}

export function nodeSessionKey(nodeId: string): string {
  return `${NODE_SESSIONS_PREFIX}${nodeId}`;
}
