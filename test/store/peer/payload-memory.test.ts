/** Where the payload of requests lies, and when that memory is used again. */
import test from 'ava';
import type { InstallRequest } from '../../../store/engine/replica-node.ts';
import {
  BlockKind,
  type ReadRequest,
  type WriteRequest,
} from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { BufferPool } from '../../../store/peer/buffer-pool.ts';
import { copyingNode } from '../../../store/peer/copy-object.ts';
import { FrameDecoder, type FrameSink } from '../../../store/peer/frame-decoder.ts';
import { META_BYTES_MAX, OBJECT_BLOCKS_MAX } from '../../../store/peer/limits.ts';
import { RequestRunner } from '../../../store/peer/request-runner.ts';
import { SendQueue } from '../../../store/peer/send-queue.ts';
import { isAligned } from '../../../store/runtime/aligned-buffer.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { silentLogger } from '../../../store/runtime/logger.ts';
import type { NetworkStream } from '../../../store/runtime/network.ts';
import * as hand from './frames-by-hand.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryNode } from './memory-node.ts';
import { content, crcsOf, makePair, readOf, writeOf } from './peer-pair.ts';

const MIB = 1024 * 1024;

/** A node that holds on to the buffers it was given, and fails when it is told to. */
class KeepingNode extends MemoryNode {
  readonly kept: (readonly Buffer[])[] = [];
  fails = false;

  #keep(buffers: readonly Buffer[]): void {
    this.kept.push(buffers);
    if (this.fails) throw new DroverError('unavailable', 'the disk failed');
  }

  override async write(request: WriteRequest) {
    this.#keep(request.payload);
    await super.write(request);
  }

  override async install(request: InstallRequest) {
    this.#keep(request.payload);
    await super.install(request);
  }

  override async read(request: ReadRequest, into: readonly Buffer[]) {
    this.#keep(into);
    return super.read(request, into);
  }
}

function installOf(objectIndex: number, seq: number, bytes: Buffer): InstallRequest {
  const { volumeId, epoch, layerId } = writeOf(objectIndex, seq);
  const version = { epoch: 3, seq };
  const blockCrcs = crcsOf(bytes);
  const kinds = new Uint8Array(blockCrcs.length).fill(BlockKind.data);
  return { volumeId, epoch, layerId, objectIndex, version, kinds, blockCrcs, payload: [bytes] };
}

test('what a node is to write, and to read into, lies in whole aligned pages', async (t) => {
  const node = new KeepingNode('n1');
  const { client } = await makePair({ node, network: { cutChunks: true } });
  let object = 0;
  for (const blocks of [1, 2, 3, 31, 32, 63, 64, 100, 600, OBJECT_BLOCKS_MAX]) {
    object += 1;
    const request = writeOf(object, 1, blocks);
    await client.write(request);
    await client.install(installOf(object, 2, content(blocks, 2)));
    const into = [Buffer.alloc(blocks * BLOCK_BYTES)];
    await client.read(readOf(object, 2, blocks), into);
    t.true(into[0]!.equals(content(blocks, 2)), `${blocks} blocks`);
    for (const buffers of node.kept.splice(0)) {
      t.true(buffers.every(isAligned));
      t.is(
        buffers.reduce((sum, buffer) => sum + buffer.length, 0),
        blocks * BLOCK_BYTES,
      );
    }
  }
});

test('the memory of a write that succeeded is used again', async (t) => {
  const node = new KeepingNode('n1');
  const { client } = await makePair({ node });
  for (let seq = 1; seq <= 20; seq += 1) await client.write(writeOf(1, seq, 300));
  t.is(new Set(node.kept.flat().map((buffer) => buffer.buffer)).size, 1, 'all lie in one piece');
});

test('the memory of a call that failed is never touched again', async (t) => {
  const node = new KeepingNode('n1');
  const { client } = await makePair({ node });
  await client.write(writeOf(9, 1, 70));
  node.kept.length = 0;
  node.fails = true;
  await t.throwsAsync(client.write(writeOf(1, 1, 70, 1234)));
  await t.throwsAsync(client.install(installOf(2, 1, content(70, 1234))));
  await t.throwsAsync(client.read(readOf(9, 1, 70), [Buffer.alloc(70 * BLOCK_BYTES)]));
  node.fails = false;
  const [written, installed, read] = node.kept.splice(0);
  // What a node that was given up does late.
  let at = 0;
  for (const buffer of read!) at += content(70, 1234).copy(buffer, 0, at);
  for (let seq = 1; seq <= 50; seq += 1) {
    await client.write(writeOf(3, seq, 70));
    await client.read(readOf(3, seq, 70), [Buffer.alloc(70 * BLOCK_BYTES)]);
  }
  for (const buffers of [written!, installed!, read!]) {
    t.true(Buffer.concat(buffers).equals(content(70, 1234)));
  }
});

/** The requests of one connection over a stream that sends when it is told to. */
class Scene implements FrameSink {
  readonly node = new KeepingNode('n1');
  readonly pool = new BufferPool(64 * MIB);
  readonly decoder = new FrameDecoder(this, META_BYTES_MAX);
  readonly runner: RequestRunner;
  readonly queue: SendQueue;
  readonly #sent: (() => void)[] = [];

  constructor() {
    const stream: NetworkStream = {
      peerName: 'held',
      write: (_buffers, onSent) => {
        this.#sent.push(() => onSent?.());
        return true;
      },
      pause: () => {},
      resume: () => {},
      destroy: () => {},
    };
    this.queue = new SendQueue(stream, this.pool, { sentBytes: 0 }, () => {});
    const nothing = () => {};
    const owner = { held: nothing, released: nothing, answeredRead: nothing, onIdle: nothing };
    const counters = { requests: 0, errors: 0, corruptRequests: 0 };
    this.runner = new RequestRunner(
      copyingNode(this.node, () => undefined, { clock: new ManualClock() }),
      this.queue,
      this.pool,
      owner,
      counters,
      silentLogger,
    );
  }

  get lentBytes(): number {
    return this.pool.totalBytes - this.pool.spareBytes;
  }

  readonly onHead: FrameSink['onHead'] = (head, bytes, metaStart) =>
    this.runner.begin(head, bytes, metaStart);

  onFrameEnd(): boolean {
    this.runner.run();
    return true;
  }

  async send(bytes: Buffer): Promise<void> {
    this.decoder.push(Buffer.from(bytes), 0);
    await new Promise((resolve) => setImmediate(resolve));
  }

  sendAnswers(): void {
    for (const sent of this.#sent.splice(0)) sent();
  }

  end(): void {
    this.queue.close();
    this.runner.disconnect();
  }
}

function writeFrame(requestId: number, seq: number, blocks: number): Buffer {
  const payload = content(blocks, seq);
  const extents = [[0, blocks, 2]] as const;
  return hand.write(requestId, {
    objectIndex: 1,
    seq,
    payload,
    extents,
    crcs: [...crcsOf(payload)],
  });
}

test('a write is the same wherever a cut falls, in several buffers too', async (t) => {
  const scene = new Scene();
  const frame = writeFrame(1, 1, 3);
  const expected = content(3, 1);
  for (let cut = 0; cut <= frame.length; cut += 1) {
    scene.node.objects.clear();
    scene.decoder.push(Buffer.from(frame.subarray(0, cut)), 0);
    scene.decoder.push(Buffer.from(frame.subarray(cut)), 0);
    const payload = scene.node.kept.pop()!;
    if (payload.length !== 2) t.fail(`${payload.length} buffers of 2 and 1 blocks`);
    if (!Buffer.concat(payload).equals(expected)) t.fail(`cut at ${cut}`);
    await Promise.resolve();
  }
  await new Promise((resolve) => setImmediate(resolve));
  t.is(scene.lentBytes, 0);
});

test('a connection that ends within a write gives the memory back', async (t) => {
  for (const cut of [2000, 5000, 1_000_000]) {
    const scene = new Scene();
    await scene.send(writeFrame(1, 1, 300).subarray(0, cut));
    t.is(scene.lentBytes, 300 * BLOCK_BYTES);
    scene.end();
    t.is(scene.lentBytes, 0);
    t.deepEqual(scene.node.kept, []);
  }
});

test('a write that is refused before the node has it gives the memory back', async (t) => {
  const scene = new Scene();
  const bad = writeFrame(1, 1, 40);
  bad[bad.length - 1]! ^= 1;
  await scene.send(bad);
  await scene.send(hand.frame({ type: 3, meta: Buffer.alloc(48), payload: Buffer.alloc(8192) }));
  await scene.send(hand.frame({ type: 10, meta: Buffer.alloc(48), payload: Buffer.alloc(8192) }));
  await scene.send(hand.frame({ type: 10, meta: Buffer.alloc(48), payload: Buffer.alloc(100) }));
  t.is(scene.lentBytes, 0);
  t.deepEqual(scene.node.kept, []);
});

test('what was read is given back when it was sent, or when the connection has ended', async (t) => {
  for (const ending of ['sent', 'ended'] as const) {
    const scene = new Scene();
    await scene.send(writeFrame(1, 1, 300));
    await scene.send(hand.read(2, 1, 1, 300));
    await scene.send(hand.read(3, 1, 1, 5));
    t.is(scene.lentBytes, 305 * BLOCK_BYTES);
    if (ending === 'sent') scene.sendAnswers();
    else scene.end();
    t.is(scene.lentBytes, 0);
  }
});

test('what is read when the connection has ended is given back', async (t) => {
  const scene = new Scene();
  await scene.send(writeFrame(1, 1, 64));
  const gate = Promise.withResolvers<void>();
  scene.node.gate = gate.promise;
  await scene.send(hand.read(2, 1, 1, 64));
  scene.end();
  t.is(scene.lentBytes, 64 * BLOCK_BYTES);
  gate.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  t.is(scene.lentBytes, 0);
});
