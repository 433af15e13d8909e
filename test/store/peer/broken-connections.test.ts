import { once } from 'node:events';
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import type { Version } from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { copyingNode } from '../../../store/peer/copy-object.ts';
import { PeerRole } from '../../../store/peer/greeting.ts';
import { PeerClient } from '../../../store/peer/peer-client.ts';
import { PeerServer } from '../../../store/peer/peer-server.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { silentLogger } from '../../../store/runtime/logger.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realNetwork } from '../../../store/runtime/real-network.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { MemoryNode } from './memory-node.ts';
import { content, makePair, PORT, readOf, writeOf } from './peer-pair.ts';

function seeded(t: ExecutionContext): SeededRandom {
  const random = new SeededRandom(Number(process.env['DROVER_TEST_SEED'] ?? Date.now()));
  t.log(`seed ${random.seed}`);
  return random;
}

/** What the node has, however often the question is abandoned. */
async function versionOf(client: PeerClient, objectIndex: number): Promise<Version> {
  for (;;) {
    try {
      return (await client.describeObject({ layerId: 6, objectIndex }, 1)).version;
    } catch (error) {
      if (!isDroverError(error, 'unavailable')) throw error;
    }
  }
}

/**
 * One object's writer: one change in flight at a time, as replication does. After an abandoned
 * change it asks what the node has, and goes on from there.
 */
async function writer(
  t: ExecutionContext,
  client: PeerClient,
  objectIndex: number,
  changes: number,
  random: SeededRandom,
): Promise<void> {
  let seq = 0;
  const blocks = 1 + random.below(5);
  for (let change = 0; change < changes; change += 1) {
    const request = writeOf(objectIndex, seq + 1, blocks, objectIndex * 1000 + seq + 1);
    try {
      if (change % 7 === 6) {
        const kinds = new Uint8Array(blocks).fill(2);
        await client.install({ ...request, version: request.target, kinds });
      } else {
        await client.write(request);
      }
      seq += 1;
    } catch (error) {
      if (!isDroverError(error, 'unavailable')) throw error;
      const version = await versionOf(client, objectIndex);
      if (version.seq !== seq && version.seq !== seq + 1) {
        t.fail(`object ${objectIndex} went from ${seq} to ${version.seq}`);
      }
      seq = version.seq;
    }
    if (seq === 0) continue;
    const into = Buffer.alloc(blocks * BLOCK_BYTES);
    const read = client.read(readOf(objectIndex, seq, blocks), [into]);
    const result = await read.catch((error) => {
      if (!isDroverError(error, 'unavailable')) throw error;
    });
    if (result === undefined) continue;
    if (!into.equals(content(blocks, objectIndex * 1000 + seq))) {
      t.fail(`object ${objectIndex} has other bytes at ${seq}`);
    }
  }
}

test('no break of connections or abandoning loses, repeats or reorders a change', async (t) => {
  const random = seeded(t);
  const pair = await makePair({ network: { cutChunks: true, fraction: () => random.fraction() } });
  const { client, clock, network, node } = pair;
  const write = node.write.bind(node);
  node.write = async (request) => {
    for (let turns = random.below(6); turns > 0; turns -= 1) await new Promise(setImmediate);
    return write(request);
  };
  const install = node.install.bind(node);
  node.install = async (request) => {
    for (let turns = random.below(40); turns > 0; turns -= 1) await new Promise(setImmediate);
    return install(request);
  };
  const changes = 60;
  let state: 'running' | 'done' = 'running';
  const writers = Promise.all(
    Array.from({ length: 8 }, (_, index) => writer(t, client, index, changes, random)),
  ).finally(() => {
    state = 'done';
  });
  while (state === 'running') {
    const event = random.below(8);
    if (event === 0) network.breakStreams(PORT);
    if (event === 1) client.abandon('by chance');
    if (event === 2) network.freeze(PORT);
    if (event === 3) network.heal(PORT);
    await clock.advance(random.below(400));
  }
  await writers;
  t.true(client.stats.connects > 1, 'no connection was broken');
  t.is(pair.server.stats.heldBytes, 0);
});

test('over real sockets that are cut all the time, every change is made once and in order', async (t) => {
  const random = seeded(t);
  const node = new MemoryNode('n1');
  const clock = systemClock;
  const server = await PeerServer.listen(
    {
      node: copyingNode(node, () => undefined, { clock }),
      identity: { nodeId: 'n1', directoryId: 'd1', openId: 'o1' },
      clusterId: 'cluster',
      network: realNetwork,
      clock,
      log: silentLogger,
    },
    { host: '127.0.0.1', port: 0 },
  );
  const sockets = new Set<net.Socket>();
  const proxy = net.createServer((near) => {
    const far = net.connect(server.address.port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far);
    far.pipe(near);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const client = new PeerClient({
    nodeId: 'n1',
    address: { host: '127.0.0.1', port: (proxy.address() as net.AddressInfo).port },
    clusterId: 'cluster',
    role: PeerRole.gateway,
    ownName: 'gateway',
    network: realNetwork,
    clock,
    random: systemRandom,
    log: silentLogger,
    times: { backoffMinMs: 1, backoffMaxMs: 5 },
  });
  let cuts = 0;
  const cutter = setInterval(() => {
    cuts += 1;
    for (const socket of sockets) socket.destroy();
  }, 15);
  await Promise.all(Array.from({ length: 8 }, (_, index) => writer(t, client, index, 150, random)));
  while (cuts < 10) {
    await writer(t, client, 100 + cuts, 20, random);
  }
  clearInterval(cutter);
  t.true(client.stats.resends > 0);
  client.close();
  await server.close();
  proxy.close();
});
