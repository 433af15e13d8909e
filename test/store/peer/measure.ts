/**
 * Speed of the peer protocol over loopback, against a node that answers at once.
 *
 *   node test/store/peer/measure.ts [SECONDS]
 *
 * The server is a second process. Prints operations a second, and the processor time of each side
 * for one operation.
 */
import { fork } from 'node:child_process';
import { crc32 } from '@node-rs/crc32';
import {
  BlockKind,
  type ReadRequest,
  type WriteRequest,
} from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { copyingNode } from '../../../store/peer/copy-object.ts';
import { PeerRole } from '../../../store/peer/greeting.ts';
import { PeerClient } from '../../../store/peer/peer-client.ts';
import { PeerServer } from '../../../store/peer/peer-server.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { silentLogger } from '../../../store/runtime/logger.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realNetwork } from '../../../store/runtime/real-network.ts';
import { MemoryNode } from './memory-node.ts';

const done = Promise.resolve();

class InstantNode extends MemoryNode {
  override write(): Promise<void> {
    return done;
  }
  override read(request: ReadRequest) {
    const kinds = new Uint8Array(request.blockCount).fill(BlockKind.data);
    return Promise.resolve({ kinds, blockCrcs: new Uint32Array(request.blockCount) });
  }
}

async function serve(): Promise<void> {
  const node = copyingNode(new InstantNode('n1'), () => undefined, { clock: systemClock });
  const identity = { nodeId: 'n1', directoryId: 'd1', openId: 'o1' };
  const server = await PeerServer.listen(
    { node, identity, clusterId: 'c', network: realNetwork, clock: systemClock, log: silentLogger },
    { host: '127.0.0.1', port: 0 },
  );
  process.on('message', () => process.send?.(process.cpuUsage()));
  process.on('disconnect', () => process.exit(0));
  process.send?.(server.address.port);
}

async function measure(seconds: number): Promise<void> {
  const child = fork(import.meta.filename, ['serve']);
  const port = await new Promise<number>((resolve) =>
    child.once('message', (m) => resolve(m as number)),
  );
  const client = new PeerClient({
    nodeId: 'n1',
    address: { host: '127.0.0.1', port },
    clusterId: 'c',
    role: PeerRole.gateway,
    ownName: 'measure',
    network: realNetwork,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  });
  await client.space();
  const serverCpu = () =>
    new Promise<NodeJS.CpuUsage>((resolve) => {
      child.once('message', (m) => resolve(m as NodeJS.CpuUsage));
      child.send('cpu');
    });

  async function row(name: string, bytes: number, depth: number, once: () => Promise<unknown>) {
    let count = 0;
    const run = async (forMs: number) => {
      const endMs = systemClock.nowMs() + forMs;
      await Promise.all(
        Array.from({ length: depth }, async () => {
          while (systemClock.nowMs() < endMs) {
            await once();
            count += 1;
          }
        }),
      );
    };
    await run(500);
    count = 0;
    const server0 = await serverCpu();
    const client0 = process.cpuUsage();
    const startMs = systemClock.nowMs();
    await run(seconds * 1000);
    const tookMs = systemClock.nowMs() - startMs;
    const client1 = process.cpuUsage(client0);
    const server1 = await serverCpu();
    const per = (us: number) => (us / count).toFixed(1).padStart(6);
    const serverUs = server1.user + server1.system - server0.user - server0.system;
    const rate = (count / tookMs) * 1000;
    console.log(
      `${name.padEnd(16)} x${String(depth).padEnd(3)} ${rate.toFixed(0).padStart(7)}/s ` +
        `${((rate * bytes) / 1e6).toFixed(0).padStart(6)} MB/s  mean ${((depth / rate) * 1e6).toFixed(1).padStart(7)} us  ` +
        `cpu client ${per(client1.user + client1.system)} us, server ${per(serverUs)} us`,
    );
  }

  const writeOf = (blocks: number): WriteRequest => {
    const payload = Buffer.alloc(blocks * BLOCK_BYTES, 7);
    return {
      volumeId: 1,
      layerId: 1,
      objectIndex: 1,
      epoch: 1,
      base: { epoch: 1, seq: 1 },
      target: { epoch: 1, seq: 2 },
      extents: [{ startBlock: 0, blockCount: blocks, kind: BlockKind.data }],
      blockCrcs: new Uint32Array(blocks).fill(crc32(payload.subarray(0, BLOCK_BYTES))),
      payload: [payload],
    };
  };
  const small = writeOf(1);
  const large = writeOf(32);
  const readOf = (blockCount: number): ReadRequest => ({
    layerId: 1,
    objectIndex: 1,
    expected: { epoch: 1, seq: 1 },
    startBlock: 0,
    blockCount,
  });
  const into4k = [Buffer.alloc(BLOCK_BYTES)];
  const into128k = [Buffer.alloc(32 * BLOCK_BYTES)];
  await row('write 4 KiB', 4096, 1, () => client.write(small));
  await row('write 4 KiB', 4096, 32, () => client.write(small));
  await row('read 4 KiB', 4096, 1, () => client.read(readOf(1), into4k));
  await row('read 4 KiB', 4096, 32, () => client.read(readOf(1), into4k));
  await row('write 128 KiB', 131072, 16, () => client.write(large));
  await row('read 128 KiB', 131072, 16, () => client.read(readOf(32), into128k));
  client.close();
  child.disconnect();
}

if (process.argv[2] === 'serve') await serve();
else await measure(Number(process.argv[2] ?? 2));
