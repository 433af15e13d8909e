import test from 'ava';
import type { CopyRequest, ReplicaNode } from '../../../store/engine/replica-node.ts';
import { BlockKind, type ReadRequest } from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { copyingNode, copyObject } from '../../../store/peer/copy-object.ts';
import { COPY_PIECE_BYTES } from '../../../store/peer/limits.ts';
import { isAligned } from '../../../store/runtime/aligned-buffer.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryNode } from './memory-node.ts';
import { content, makePair, writeOf } from './peer-pair.ts';

const BLOCKS = 600;
const KEY = { layerId: 6, objectIndex: 1 };
const REQUEST: CopyRequest = {
  ...KEY,
  volumeId: 5,
  epoch: 3,
  version: { epoch: 3, seq: 2 },
  blockCount: BLOCKS,
  sourceNodeId: 'source',
};

function bitmap(...blocks: number[]): Uint8Array {
  const bits = new Uint8Array(BLOCKS / 8);
  for (const block of blocks) bits[block >> 3]! |= 1 << (block & 7);
  return bits;
}

interface Nodes {
  readonly clock: ManualClock;
  readonly memory: MemoryNode;
  readonly source: ReplicaNode;
  readonly local: MemoryNode;
}

/** A source at version 2 with 520 data blocks, a zero and holes; its block 3 is of version 2. */
async function nodes(): Promise<Nodes> {
  const clock = new ManualClock();
  const memory = new MemoryNode('source');
  await memory.write(writeOf(1, 1, 520));
  const changed = writeOf(1, 2, 1, 99);
  await memory.write({
    ...changed,
    extents: [
      { startBlock: 3, blockCount: 1, kind: BlockKind.data },
      { startBlock: 5, blockCount: 1, kind: BlockKind.zero },
      { startBlock: 7, blockCount: 1, kind: BlockKind.hole },
    ],
  });
  memory.calls.length = 0;
  const source = copyingNode(memory, () => undefined, { clock });
  return { clock, memory, source, local: new MemoryNode('local') };
}

async function sameObject(a: MemoryNode, b: MemoryNode): Promise<boolean> {
  const [one, two] = [await a.describeObject(KEY, BLOCKS), await b.describeObject(KEY, BLOCKS)];
  return JSON.stringify(one) === JSON.stringify(two);
}

test('a whole copy has the same version, kinds and bytes, whatever was there', async (t) => {
  const { clock, memory, source, local } = await nodes();
  await local.write(writeOf(1, 1, 600, 50));
  const result = await copyObject(local, source, REQUEST, { clock });
  t.true(await sameObject(memory, local));
  t.is(result.receivedBytes, 518 * BLOCK_BYTES);
});

test('a copy that took long does not undo what came in between', async (t) => {
  const { clock, memory, source, local } = await nodes();
  await local.write(writeOf(1, 1, 600, 50));
  const read = memory.read.bind(memory);
  const held = Promise.withResolvers<void>();
  memory.read = async (request: ReadRequest, into) => {
    await held.promise;
    return read(request, into);
  };
  const late = copyObject(local, source, REQUEST, { clock });
  await clock.settle();
  memory.read = read;
  await copyObject(local, source, REQUEST, { clock });
  await local.write(writeOf(1, 3, 1, 77));
  held.resolve();
  t.true(isDroverError(await t.throwsAsync(late), 'conflict'));
  t.is((await local.describeObject(KEY, 0)).version.seq, 3);
});

test('the source is read in bounded pieces', async (t) => {
  const { clock, memory, source, local } = await nodes();
  const read = memory.read.bind(memory);
  const sizes: number[] = [];
  memory.read = (request: ReadRequest, into) => {
    sizes.push(request.blockCount * BLOCK_BYTES);
    return read(request, into);
  };
  await copyObject(local, source, REQUEST, { clock });
  t.true(sizes.every((size) => size <= COPY_PIECE_BYTES));
  t.is(
    sizes.reduce((sum, size) => sum + size),
    518 * BLOCK_BYTES,
  );
});

test('a delta receives only the changed blocks', async (t) => {
  const { clock, memory, source, local } = await nodes();
  await local.write(writeOf(1, 1, 520));
  const delta = { base: { epoch: 3, seq: 1 }, changedBlocks: bitmap(3, 5, 7) };
  const result = await copyObject(local, source, { ...REQUEST, delta }, { clock });
  t.is(result.receivedBytes, BLOCK_BYTES);
  t.true(await sameObject(memory, local));
});

test('a delta is refused by a node at another version, which stays as it is', async (t) => {
  const { clock, source, local } = await nodes();
  const delta = { base: { epoch: 3, seq: 1 }, changedBlocks: bitmap(3) };
  const error = await t.throwsAsync(copyObject(local, source, { ...REQUEST, delta }, { clock }));
  t.true(isDroverError(error, 'conflict'));
  t.is(local.objects.size, 0);
});

test('a delta in which nothing changed brings the whole object', async (t) => {
  const { clock, memory, source, local } = await nodes();
  const delta = { base: { epoch: 3, seq: 1 }, changedBlocks: bitmap() };
  await copyObject(local, source, { ...REQUEST, delta }, { clock });
  t.true(await sameObject(memory, local));
});

test('an object without data is copied without a read', async (t) => {
  const { clock, memory, source, local } = await nodes();
  const extents = [{ startBlock: 0, blockCount: 520, kind: BlockKind.zero }];
  await memory.write({ ...writeOf(1, 3, 0), extents });
  const result = await copyObject(
    local,
    source,
    { ...REQUEST, version: { epoch: 3, seq: 3 } },
    { clock },
  );
  t.is(result.receivedBytes, 0);
  t.true(await sameObject(memory, local));
  t.false(memory.calls.some((call) => call.startsWith('read')));
});

test('a source at another version is a conflict', async (t) => {
  const { clock, source, local } = await nodes();
  const request = { ...REQUEST, version: { epoch: 3, seq: 9 } };
  const error = await t.throwsAsync(copyObject(local, source, request, { clock }));
  t.true(isDroverError(error, 'conflict'));
  t.regex(error!.message, /node source has the object at 3\.2/);
});

test('a source that is written to meanwhile is a conflict, never a mixture', async (t) => {
  const { clock, memory, source, local } = await nodes();
  const read = memory.read.bind(memory);
  let reads = 0;
  memory.read = async (request: ReadRequest, into) => {
    reads += 1;
    if (reads === 2) await memory.write(writeOf(1, 3));
    return read(request, into);
  };
  const error = await t.throwsAsync(copyObject(local, source, REQUEST, { clock }));
  t.true(isDroverError(error, 'conflict'));
  t.is(local.objects.size, 0);
});

test('bytes that do not match their checksum are corrupt, and not installed', async (t) => {
  const { clock, memory, source, local } = await nodes();
  const read = memory.read.bind(memory);
  memory.read = async (request: ReadRequest, into) => {
    const result = await read(request, into);
    into[0]![5]! ^= 1;
    return result;
  };
  const error = await t.throwsAsync(copyObject(local, source, REQUEST, { clock }));
  t.true(isDroverError(error, 'corrupt'));
  t.is(local.objects.size, 0);
});

test('a source that does not answer in time is unavailable', async (t) => {
  const { clock, memory, source, local } = await nodes();
  const gate = Promise.withResolvers<void>();
  memory.gate = gate.promise;
  const copy = copyObject(local, source, REQUEST, { clock, answerLimitMs: 700 });
  const failed = t.throwsAsync(copy, { message: /node source does not answer within 700 ms/ });
  await clock.advance(701);
  t.true(isDroverError(await failed, 'unavailable'));
  gate.resolve();
});

test('an unknown source is unavailable', async (t) => {
  const local = copyingNode(new MemoryNode('local'), () => undefined, { clock: new ManualClock() });
  t.true(isDroverError(await t.throwsAsync(local.copyObject(REQUEST)), 'unavailable'));
});

test('a served node copies from the source that its resolver knows', async (t) => {
  const { memory, source } = await nodes();
  const resolve = (nodeId: string) => (nodeId === 'source' ? source : undefined);
  const { client, node } = await makePair({ resolve, network: { cutChunks: true } });
  await node.write(writeOf(1, 1, 520));
  const delta = { base: { epoch: 3, seq: 1 }, changedBlocks: bitmap(3, 5, 7) };
  t.deepEqual(await client.copyObject({ ...REQUEST, delta }), { receivedBytes: BLOCK_BYTES });
  t.true(await sameObject(memory, node));
  await client.removeObject(REQUEST);
  t.deepEqual(await client.copyObject(REQUEST), { receivedBytes: 518 * BLOCK_BYTES });
  t.true(await sameObject(memory, node));
  const unknown = client.copyObject({ ...REQUEST, sourceNodeId: 'nobody' });
  t.true(isDroverError(await t.throwsAsync(unknown), 'unavailable'));
});

test('bytes of a piece are at their places', async (t) => {
  const { clock, source, local } = await nodes();
  await copyObject(local, source, REQUEST, { clock });
  const block = local.objects.get('6/1')!.blocks.get(400);
  t.deepEqual(block, content(520, 1).subarray(400 * BLOCK_BYTES, 401 * BLOCK_BYTES));
});

test('what is copied lies in whole aligned pages', async (t) => {
  const { clock, source, local } = await nodes();
  const payloads: (readonly Buffer[])[] = [];
  const install = local.install.bind(local);
  local.install = (request, over) => {
    payloads.push(request.payload);
    return install(request, over);
  };
  await copyObject(local, source, REQUEST, { clock });
  t.is(payloads.length, 1);
  t.true(payloads[0]!.every(isAligned));
});

test('the memory of a copy that failed is never touched by later ones', async (t) => {
  const { clock, memory, source, local } = await nodes();
  const read = memory.read.bind(memory);
  const late: (readonly Buffer[])[] = [];
  memory.read = (_request: ReadRequest, into) => {
    late.push(into);
    return new Promise(() => {});
  };
  const failed = t.throwsAsync(copyObject(local, source, REQUEST, { clock, answerLimitMs: 10 }));
  await clock.advance(11);
  await failed;
  memory.read = read;
  for (const buffer of late[0]!) buffer.fill(0xab);
  for (let i = 0; i < 5; i += 1) await copyObject(local, source, REQUEST, { clock });
  t.true(late[0]!.every((buffer) => buffer.equals(Buffer.alloc(buffer.length, 0xab))));
});
