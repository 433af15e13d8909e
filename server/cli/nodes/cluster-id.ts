/**
 * Which cluster a data directory belongs to.
 *
 * Owns: `cluster.json` beside a node's data, and the cluster's name in the control plane. A node
 * drops every layer that the control plane does not know, so a directory must never meet the
 * control plane of another cluster.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { type ControlPlane, REVISION_NONE } from '../../../store/control/control-plane.ts';
import type { Disk } from '../../../store/runtime/disk.ts';
import { DroverError, isDroverError } from '../../../store/runtime/drover-error.ts';
import type { Random } from '../../../store/runtime/random.ts';

const CLUSTER_ID_KEY = 'cluster-id';
const CLUSTER_ID_BYTES = 16;

const clusterIdSchema = z.string().regex(/^[0-9a-f]{32}$/);
const fileSchema = z.object({ clusterId: clusterIdSchema });

/** The cluster's name, made by the first to ask. Errors: `corrupt`, `unavailable`. */
export async function clusterIdOf(control: ControlPlane, random: Random): Promise<string> {
  for (;;) {
    const found = await control.get(CLUSTER_ID_KEY);
    if (found !== undefined) {
      const parsed = clusterIdSchema.safeParse(found.value);
      if (parsed.success) return parsed.data;
      throw new DroverError('corrupt', `control record ${CLUSTER_ID_KEY} is malformed`);
    }
    const value = random.bytes(CLUSTER_ID_BYTES).toString('hex');
    try {
      await control.commit({
        expect: [{ key: CLUSTER_ID_KEY, revision: REVISION_NONE }],
        put: [{ key: CLUSTER_ID_KEY, value }],
      });
    } catch (error) {
      if (!isDroverError(error, 'conflict')) throw error;
    }
  }
}

/**
 * Checks that the node's directory belongs to the cluster; one that belongs to none joins it.
 * Errors: `invalid` for a directory of another cluster, `corrupt`; the disk's own.
 */
export async function joinCluster(disk: Disk, directory: string, clusterId: string): Promise<void> {
  const path = join(directory, 'cluster.json');
  const bytes = await disk.readSmallFile(path);
  if (bytes === undefined) {
    await disk.replaceSmallFile(path, Buffer.from(`${JSON.stringify({ clusterId })}\n`));
    return;
  }
  const parsed = fileSchema.safeParse(jsonOf(bytes));
  if (!parsed.success) throw new DroverError('corrupt', `${path} is damaged`);
  if (parsed.data.clusterId === clusterId) return;
  throw new DroverError(
    'invalid',
    `${directory} belongs to cluster ${parsed.data.clusterId}, and the control plane is that of ${clusterId}`,
  );
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    // The schema refuses it.
    return undefined;
  }
}
