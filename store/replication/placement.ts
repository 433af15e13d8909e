/**
 * Which nodes hold the copies of a volume: weighted rendezvous hashing.
 *
 * Owns: the ranking. Does not own: when a volume moves; its record names the nodes it was placed on.
 * Every process computes the same answer from the same nodes. A node gets volumes in proportion to
 * its capacity, and a node that comes or goes changes only the places that it takes or had.
 */
import { createHash } from 'node:crypto';
import { DroverError } from '../runtime/drover-error.ts';

export interface PlaceableNode {
  readonly nodeId: string;
  /** Copies of a volume lie in different zones as far as there are enough. */
  readonly zone: string;
  readonly capacityBytes: number;
}

/**
 * The ids of `copies` nodes for a volume, best first. Zones are used once each before one is used
 * again. Error: `unavailable` if there are not enough nodes.
 */
export function placeVolume(
  nodes: readonly PlaceableNode[],
  volumeId: number,
  copies: number,
): string[] {
  if (nodes.length < copies) {
    throw new DroverError(
      'unavailable',
      `${copies} copies need ${copies} store nodes, and ${nodes.length} are registered`,
    );
  }
  const ranked = nodes
    .map((node) => ({ node, score: rendezvousScore(node, volumeId) }))
    .sort((a, b) => b.score - a.score || (a.node.nodeId < b.node.nodeId ? -1 : 1))
    .map((entry) => entry.node);
  const chosen: PlaceableNode[] = [];
  let left = ranked;
  while (chosen.length < copies) {
    const zones = new Set<string>();
    const passedOver: PlaceableNode[] = [];
    for (const node of left) {
      if (chosen.length < copies && !zones.has(node.zone)) {
        zones.add(node.zone);
        chosen.push(node);
      } else {
        passedOver.push(node);
      }
    }
    left = passedOver;
  }
  return chosen.map((node) => node.nodeId);
}

/** `-weight / ln(hash)`, hash even in (0, 1): the highest wins in proportion to the weights. */
function rendezvousScore(node: PlaceableNode, volumeId: number): number {
  const digest = createHash('sha256').update(`${volumeId}/${node.nodeId}`).digest();
  const fraction = (digest.readUIntBE(0, 6) + 0.5) / 2 ** 48;
  return -Math.max(1, node.capacityBytes) / Math.log(fraction);
}
