/**
 * Giving back the space of volumes that are gone.
 *
 * Owns: the order that makes it safe. The record goes first, then the layer; what was interrupted
 * between the two is found here again, because layer ids are never used twice.
 */
import type { VolumeDirectory } from '../../store/control/volume-directory.ts';
import type { ReplicaNode } from '../../store/engine/replica-node.ts';

/** What is asked of a node here. */
export type LayerKeeper = Pick<ReplicaNode, 'listLayers' | 'removeLayer'>;

/**
 * Removes the layers of a node that belong to no volume; resolves to their ids. The node is asked
 * before the records are read: a volume made in between has no layer in the answer.
 */
export async function removeUnknownLayers(
  node: LayerKeeper,
  directory: VolumeDirectory,
): Promise<number[]> {
  const found = await node.listLayers();
  if (found.length === 0) return [];
  const known = new Set((await directory.list()).map((entry) => entry.record.layerId));
  const unknown = found.filter((layerId) => !known.has(layerId));
  for (const layerId of unknown) await node.removeLayer(layerId);
  return unknown;
}
