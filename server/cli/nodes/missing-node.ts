/**
 * A node that is not there: every request is refused as `unavailable`.
 */
import type { ReplicaNode } from '../../../store/engine/replica-node.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';

export function missingNode(nodeId: string, reason: () => string): ReplicaNode {
  const refuse = (): Promise<never> =>
    Promise.reject(new DroverError('unavailable', `node ${nodeId}: ${reason()}`));
  return {
    nodeId,
    write: refuse,
    read: refuse,
    map: refuse,
    listVersions: refuse,
    adoptEpoch: refuse,
    removeLayer: refuse,
    copyObject: refuse,
    install: refuse,
    removeObject: refuse,
    repair: refuse,
    describeObject: refuse,
    space: refuse,
    listLayers: refuse,
  };
}
