/**
 * Nodes of the same process: nothing sent to them can be taken back, so a disk that hangs may use a
 * payload, and answer, long after the node was given up.
 */
import test from 'ava';
import type { ReplicaNode } from '../../../store/engine/replica-node.ts';
import type { WriteRequest } from '../../../store/engine/store-node.ts';
import { inProcessLink } from '../../../store/replication/replica-link.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { outcomeOf, stampOn } from './sim/scene.ts';
import { dataExtent, LAYER_ID, SimCluster, stampedBlocks, writeStamp } from './sim/sim-cluster.ts';
import type { SimNode } from './sim/sim-node.ts';

/** A node whose changes can be held back, as by a disk that hangs. */
class HangingNode {
  readonly #node: SimNode;
  readonly #cluster: SimCluster;
  isHanging = false;
  readonly held: (() => void)[] = [];

  constructor(node: SimNode, cluster: SimCluster) {
    this.#node = node;
    this.#cluster = cluster;
  }

  get replicaNode(): ReplicaNode {
    const node = this.#node;
    return {
      nodeId: node.nodeId,
      write: (request) => this.#write(request),
      read: async (request, into) => node.read(request, into),
      map: async (key, blockCount) => node.describeObject(key, blockCount).kinds,
      listVersions: async (layerId, from, limit) => node.listVersions(layerId, from, limit),
      adoptEpoch: (volumeId, epoch) => this.#inTurn(() => node.adoptEpoch(volumeId, epoch)),
      removeLayer: async (layerId) => node.removeLayer(layerId),
      copyObject: async (request) =>
        node.copyObject(request, this.#cluster.nodes.get(request.sourceNodeId)),
      install: async (request) => node.install(request),
      removeObject: async (request) => node.removeObject(request),
      repair: async (request) => node.repair(request),
      describeObject: async (key, blockCount) => node.describeObject(key, blockCount),
      space: async () => node.space(),
      listLayers: async () => node.listLayers(),
    };
  }

  #write(request: WriteRequest): Promise<void> {
    // The payload is what it is by then; the checksums are those of the request.
    return this.#inTurn(() => this.#node.writeUnchecked(request));
  }

  async #inTurn(run: () => void): Promise<void> {
    if (this.isHanging) await new Promise<void>((resolve) => this.held.push(resolve));
    run();
  }
}

async function makeScene() {
  const cluster = new SimCluster(new SeededRandom(1));
  const hanging = new Map(
    [...cluster.nodes.values()].map((node) => [node.nodeId, new HangingNode(node, cluster)]),
  );
  const links = (nodeId: string) =>
    inProcessLink(nodeId, hanging.get(nodeId)!.replicaNode, cluster.node(nodeId).directoryId);
  const gateway = cluster.gateway('g1');
  const { timeline } = cluster;
  const store = await timeline.until('attach', 1000, gateway.attach({ links }));
  return { cluster, timeline, store, third: hanging.get('n3')! };
}

test('a disk that hangs is taken out after the limit, and I/O goes on', async (t) => {
  const { cluster, timeline, store, third } = await makeScene();
  third.isHanging = true;
  const startedMs = timeline.nowMs;
  await timeline.until('write', 7000, writeStamp(store, 0, 0, 5));
  t.true(timeline.nowMs - startedMs < 5500);
  t.is(store.status().replicas[2]!.takeOuts, 1);
  t.is(stampOn(cluster, 'n1', 0, 0), 5);
});

test('a version that may carry bytes of later is copied whole when the disk goes on', async (t) => {
  const { cluster, timeline, store, third } = await makeScene();
  third.isHanging = true;
  const payload = stampedBlocks([5]);
  await timeline.until('write', 7000, store.write(0, [dataExtent(0, 1)], [payload]));
  payload.fill(0xff);
  await timeline.pass(12_000);
  for (const goOn of third.held) goOn();
  third.isHanging = false;
  await timeline.pass(30_000);
  t.is(store.status().inSync, 3);
  t.false(cluster.node('n3').hasBadBlock({ layerId: LAYER_ID, objectIndex: 0 }));
  t.deepEqual(cluster.differences(), []);
});

test('a late answer is not taken for that of another write', async (t) => {
  const { timeline, store, third } = await makeScene();
  third.isHanging = true;
  await timeline.until('write', 7000, writeStamp(store, 0, 0, 5));
  third.isHanging = false;
  await timeline.untilTrue('in sync', 15_000, () => store.status().inSync === 3);
  third.isHanging = true;
  const later = outcomeOf(writeStamp(store, 1, 0, 6));
  await timeline.pass(10);
  third.held[0]!();
  await timeline.pass(10);
  t.is(later.state, 'pending');
  third.held.at(-1)!();
  await timeline.pass(10);
  t.is(later.state, 'done');
});
