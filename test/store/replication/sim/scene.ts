/**
 * A simulated cluster with its volume attached, and short words for what the tests ask of it.
 */
import type { AttachOptions } from '../../../../store/replication/attach.ts';
import { SeededRandom } from '../../../support/seeded-random.ts';
import { LAYER_ID, readStamp, SimCluster, writeStamp } from './sim-cluster.ts';

export interface SceneOptions {
  readonly nodeCount?: number;
  readonly minInSync?: number;
  readonly attach?: Partial<AttachOptions>;
}

export async function makeScene(options: SceneOptions = {}) {
  const cluster = new SimCluster(
    new SeededRandom(1),
    options.nodeCount ?? 3,
    options.minInSync ?? undefined,
  );
  const { timeline } = cluster;
  const gateway = cluster.gateway('g1');
  const store = await timeline.until('attach', 1000, gateway.attach(options.attach));
  const write = (objectIndex: number, block: number, stamp: number) =>
    timeline.until('write', 30_000, writeStamp(store, objectIndex, block, stamp));
  const read = (objectIndex: number, block: number) =>
    timeline.until('read', 30_000, readStamp(store, objectIndex, block));
  return { cluster, gateway, store, timeline, write, read };
}

export interface Outcome {
  state: 'pending' | 'done' | 'failed';
  error?: unknown;
  value?: unknown;
}

/** Observes a promise without waiting for it. */
export function outcomeOf(promise: Promise<unknown>): Outcome {
  const outcome: Outcome = { state: 'pending' };
  promise.then(
    (value) => {
      outcome.state = 'done';
      outcome.value = value;
    },
    (error: unknown) => {
      outcome.state = 'failed';
      outcome.error = error;
    },
  );
  return outcome;
}

/** The version of an object on a node, as `epoch.seq`. */
export function versionOn(cluster: SimCluster, nodeId: string, objectIndex: number): string {
  const object = cluster.node(nodeId).object({ layerId: LAYER_ID, objectIndex });
  return object === undefined ? 'none' : `${object.version.epoch}.${object.version.seq}`;
}

/** The stamp that a node has stored in a block; 0 if it reads as zeros. */
export function stampOn(
  cluster: SimCluster,
  nodeId: string,
  objectIndex: number,
  block: number,
): number {
  const found = cluster.node(nodeId).object({ layerId: LAYER_ID, objectIndex })?.blocks.get(block);
  return found === undefined || found.bytes.length === 0 ? 0 : found.bytes.readUInt32LE(0);
}
