/**
 * A client and a server over a simulated network, for the tests of both.
 *
 * Owns: putting them together with a manual clock, requests to send, and payload to compare.
 */
import { crc32 } from '@node-rs/crc32';
import type { ReplicaNode } from '../../../store/engine/replica-node.ts';
import {
  BlockKind,
  type ReadRequest,
  type WriteRequest,
} from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { copyingNode, type NodeResolver } from '../../../store/peer/copy-object.ts';
import { PeerRole } from '../../../store/peer/greeting.ts';
import { PeerClient, type PeerClientOptions } from '../../../store/peer/peer-client.ts';
import { PeerServer, type PeerServerOptions } from '../../../store/peer/peer-server.ts';
import type { Logger } from '../../../store/runtime/logger.ts';
import { SimNetwork, type SimNetworkOptions } from '../../sim/sim-network.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryNode } from './memory-node.ts';

export const PORT = 7;

/** Keeps what was logged, for tests of what an operator sees. */
export class KeptLog implements Logger {
  readonly lines: string[] = [];
  #keep(fields: object, message: string): void {
    this.lines.push(`${message} ${JSON.stringify(fields)}`);
  }
  debug = this.#keep;
  info = this.#keep;
  warn = this.#keep;
  error = this.#keep;
}

export interface PairOptions {
  readonly network?: Partial<SimNetworkOptions>;
  readonly server?: Partial<PeerServerOptions>;
  readonly client?: Partial<PeerClientOptions>;
  readonly resolve?: NodeResolver;
  readonly node?: MemoryNode;
}

export interface Pair {
  readonly clock: ManualClock;
  readonly network: SimNetwork;
  readonly node: MemoryNode;
  readonly server: PeerServer;
  readonly client: PeerClient;
  readonly log: KeptLog;
  readonly random: SeededRandom;
  /** Another client of the same node. */
  connect(options?: Partial<PeerClientOptions>): PeerClient;
  /** Another server at the same address, as after a restart. */
  listen(options?: Partial<PeerServerOptions>): Promise<PeerServer>;
}

export async function makePair(options: PairOptions = {}): Promise<Pair> {
  const clock = new ManualClock();
  const random = new SeededRandom(20);
  const fraction = () => random.fraction();
  const network = new SimNetwork({ clock, fraction, ...options.network });
  const log = new KeptLog();
  const node = options.node ?? new MemoryNode('n1');
  const served: ReplicaNode = copyingNode(node, options.resolve ?? (() => undefined), { clock });
  const listen = (more: Partial<PeerServerOptions> = {}) =>
    PeerServer.listen(
      {
        node: served,
        identity: { nodeId: 'n1', directoryId: 'd1', openId: 'o1' },
        clusterId: 'cluster',
        network,
        clock,
        log,
        ...options.server,
        ...more,
      },
      { host: 'sim', port: PORT },
    );
  const connect = (more: Partial<PeerClientOptions> = {}) =>
    new PeerClient({
      nodeId: 'n1',
      address: { host: 'sim', port: PORT },
      clusterId: 'cluster',
      role: PeerRole.gateway,
      ownName: 'gateway-1',
      network,
      clock,
      random: { bytes: (count) => randomBytes(random, count), fraction },
      log,
      ...options.client,
      ...more,
    });
  const server = await listen();
  const client = connect();
  return { clock, network, node, server, client, log, random, connect, listen };
}

function randomBytes(random: SeededRandom, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => random.below(256)));
}

/** Blocks of bytes that differ from one another and from other seeds. */
export function content(blocks: number, seed: number): Buffer {
  const bytes = Buffer.alloc(blocks * BLOCK_BYTES);
  for (let at = 0; at < bytes.length; at += 4)
    bytes.writeUInt32LE((at * 31 + seed * 7919) >>> 0, at);
  return bytes;
}

export function crcsOf(bytes: Buffer): Uint32Array {
  const crcs = new Uint32Array(bytes.length / BLOCK_BYTES);
  for (let i = 0; i < crcs.length; i += 1) {
    crcs[i] = crc32(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
  }
  return crcs;
}

/** A write of whole data blocks from the start of an object, from seq - 1 to seq. */
export function writeOf(objectIndex: number, seq: number, blocks = 1, seed = seq): WriteRequest {
  const bytes = content(blocks, seed);
  return {
    volumeId: 5,
    layerId: 6,
    objectIndex,
    epoch: 3,
    base: seq === 1 ? { epoch: 0, seq: 0 } : { epoch: 3, seq: seq - 1 },
    target: { epoch: 3, seq },
    extents: [{ startBlock: 0, blockCount: blocks, kind: BlockKind.data }],
    blockCrcs: crcsOf(bytes),
    payload: blocks === 0 ? [] : [bytes],
  };
}

export function readOf(objectIndex: number, seq: number, blockCount = 1): ReadRequest {
  return { layerId: 6, objectIndex, expected: { epoch: 3, seq }, startBlock: 0, blockCount };
}
