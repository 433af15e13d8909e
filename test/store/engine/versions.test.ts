/**
 * Who may write what: bases, targets, retries, epochs.
 */
import test from 'ava';
import type { WriteRequest } from '../../../store/engine/store-node.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { contentOf, HOLE, version, writeBlock, writeOf, ZERO } from './sample-blocks.ts';
import { SimulatedNode } from './simulated-node.ts';

async function newNode(): Promise<SimulatedNode> {
  const node = new SimulatedNode(new SeededRandom(1));
  await node.open();
  return node;
}

test('a write on exactly its base is applied', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 2, 11)));
  const second = [
    { block: 1, content: 12 },
    { block: 2, content: ZERO },
  ];
  await node.run(
    node.engine.write(writeOf({ base: version(1), target: version(2), changes: second })),
  );
  t.deepEqual(await node.contentOf(1, 0, version(2), 4), [HOLE, 12, ZERO, HOLE]);
});

test('a write on another base is refused and changes nothing', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  for (const request of [
    writeBlock(0, 3, 0, 99),
    { ...writeBlock(0, 1, 0, 99), target: version(9) },
  ]) {
    t.true(isDroverError(await node.errorOf(node.engine.write(request)), 'conflict'));
  }
  t.deepEqual(await node.contentOf(1, 0, version(1), 1), [11]);
});

test('a write sent again succeeds without doing anything', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  const { appends } = node.engine.stats;
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  t.is(node.engine.stats.appends, appends);
});

test('a write sent again while it is on its way waits for the first one', async (t) => {
  const node = await newNode();
  const first = node.engine.write(writeBlock(0, 1, 0, 11));
  const second = node.engine.write(writeBlock(0, 2, 0, 12));
  const again = node.engine.write(writeBlock(0, 1, 0, 11));
  await node.run(Promise.all([first, second, again]));
  t.is(node.engine.stats.appends, 2);
  t.deepEqual(await node.contentOf(1, 0, version(2), 1), [12]);
});

test('writes of one object may follow one another without waiting', async (t) => {
  const node = await newNode();
  const writes = Array.from({ length: 10 }, (_, i) =>
    node.engine.write(writeBlock(0, i + 1, i, i + 1)),
  );
  await node.run(Promise.all(writes));
  t.deepEqual(await node.contentOf(1, 0, version(10), 3), [1, 2, 3]);
});

test('a lower epoch than the node was told is fenced, for every change, also after a restart', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  await node.run(node.engine.adoptEpoch(1, 5));
  const check = async (): Promise<void> => {
    const key = { layerId: 1, objectIndex: 0, volumeId: 1, epoch: 4 };
    const { blockCrcs, payload } = contentOf([{ block: 0, content: 11 }]);
    const refused = [
      node.engine.write({ ...writeBlock(0, 2, 0, 12), epoch: 4 }),
      node.engine.adoptEpoch(1, 4),
      node.engine.removeObject(key),
      node.engine.repair({ ...key, version: version(1), startBlock: 0, blockCrcs, payload }),
      node.engine.install({
        ...key,
        version: version(3),
        kinds: Uint8Array.of(2),
        blockCrcs,
        payload,
      }),
    ];
    for (const change of refused) t.true(isDroverError(await node.errorOf(change), 'fenced'));
  };
  await check();
  node.crash();
  await node.open();
  await check();
});

test('an epoch is adopted by a write that carries it, durably', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write({ ...writeBlock(0, 1, 0, 11), epoch: 7 }));
  node.crash();
  await node.open();
  t.true(isDroverError(await node.errorOf(node.engine.adoptEpoch(1, 6)), 'fenced'));
  await node.run(node.engine.adoptEpoch(1, 7));
});

test('epochs of different volumes have nothing to do with one another', async (t) => {
  const node = await newNode();
  await node.run(node.engine.adoptEpoch(1, 5));
  await node.run(node.engine.adoptEpoch(2, 1));
  t.true(isDroverError(await node.errorOf(node.engine.adoptEpoch(1, 1)), 'fenced'));
});

test('a read of another version than the one expected is a conflict', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  for (const expected of [version(0), version(2), version(1, 2)]) {
    const request = { layerId: 1, objectIndex: 0, expected, startBlock: 0, blockCount: 1 };
    const error = await node.errorOf(node.engine.read(request, [Buffer.alloc(4096)]));
    t.true(isDroverError(error, 'conflict'));
  }
});

test('a read does not see a write that is not durable yet', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  const later = node.engine.write(writeBlock(0, 2, 0, 12));
  t.deepEqual(
    (await node.engine.describeObject({ layerId: 1, objectIndex: 0 }, 1)).version,
    version(1),
  );
  await node.run(later);
});

test('an install replaces whatever version was there, also a higher one', async (t) => {
  const node = await newNode();
  for (let seq = 1; seq <= 3; seq += 1)
    await node.run(node.engine.write(writeBlock(0, seq, seq, seq)));
  const { blockCrcs, payload } = contentOf([{ block: 0, content: 50 }]);
  const key = { layerId: 1, objectIndex: 0, volumeId: 1, epoch: 1 };
  const kinds = Uint8Array.of(2, 1, 0);
  const crcs = Uint32Array.of(blockCrcs[0]!, 0, 0);
  const request = { ...key, version: version(2), kinds, blockCrcs: crcs, payload };
  await node.run(node.engine.install(request));
  t.deepEqual(await node.contentOf(1, 0, version(2), 5), [50, ZERO, HOLE, HOLE, HOLE]);
  node.crash();
  await node.open();
  t.deepEqual(await node.contentOf(1, 0, version(2), 5), [50, ZERO, HOLE, HOLE, HOLE]);
});

test('an install over a version that was written over since, durably or not, is refused', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  const key = { layerId: 1, objectIndex: 0, volumeId: 1, epoch: 1 };
  const nothing = { kinds: Uint8Array.of(0), blockCrcs: Uint32Array.of(0), payload: [] };
  const install = { ...key, version: version(7), ...nothing };
  const queued = node.engine.write(writeBlock(0, 2, 0, 12));
  const refused = node.engine.install(install, version(1));
  t.true(isDroverError(await node.errorOf(refused), 'conflict'));
  await node.run(queued);
  t.deepEqual(await node.contentOf(1, 0, version(2), 1), [12]);
  await node.run(node.engine.install(install, version(2)));
  t.deepEqual(await node.contentOf(1, 0, version(7), 1), [HOLE]);
});

test('a removed object is absent and may be written anew', async (t) => {
  const node = await newNode();
  await node.run(node.engine.write(writeBlock(0, 1, 0, 11)));
  await node.run(node.engine.removeObject({ layerId: 1, objectIndex: 0, volumeId: 1, epoch: 1 }));
  t.is((await node.run(node.engine.listVersions(1, 0, 10))).count, 0);
  t.deepEqual(await node.contentOf(1, 0, version(0), 2), [HOLE, HOLE]);
  await node.run(node.engine.write(writeBlock(0, 1, 1, 12)));
  node.crash();
  await node.open();
  t.deepEqual(await node.contentOf(1, 0, version(1), 2), [HOLE, 12]);
});

test('payload that does not match its checksums is refused where the engine is asked to look', async (t) => {
  const node = new SimulatedNode(new SeededRandom(1), { verifyPayload: true });
  await node.open();
  const request = writeBlock(0, 1, 0, 11);
  const bad = { ...request, blockCrcs: Uint32Array.of(request.blockCrcs[0]! ^ 1) };
  t.true(isDroverError(await node.errorOf(node.engine.write(bad)), 'corrupt'));
  await node.run(node.engine.write(request));
});

const good = writeBlock(0, 1, 0, 11);
const broken: Readonly<Record<string, Partial<WriteRequest>>> = {
  'no extents': { extents: [], blockCrcs: new Uint32Array(0), payload: [] },
  'an empty extent': { extents: [{ startBlock: 0, blockCount: 0, kind: 2 }] },
  'extents out of order': {
    extents: [
      { startBlock: 5, blockCount: 1, kind: 1 },
      { startBlock: 0, blockCount: 1, kind: 2 },
    ],
  },
  'extents that overlap': {
    extents: [
      { startBlock: 0, blockCount: 1, kind: 2 },
      { startBlock: 0, blockCount: 1, kind: 1 },
    ],
  },
  'a block past the largest object': { extents: [{ startBlock: 4096, blockCount: 1, kind: 2 }] },
  'an unknown kind': { extents: [{ startBlock: 0, blockCount: 1, kind: 3 as never }] },
  'too few checksums': { blockCrcs: new Uint32Array(0) },
  'too many bytes': { payload: [Buffer.alloc(8192)] },
  'a buffer that is no whole block': { payload: [Buffer.alloc(4095), Buffer.alloc(1)] },
  'a target not above the base': { target: version(0) },
  'a layer id beyond 48 bits': { layerId: 2 ** 48 },
  'an object index beyond 32 bits': { objectIndex: 2 ** 32 },
  'a fraction': { objectIndex: 0.5 },
  'an epoch beyond 32 bits': { epoch: 2 ** 32 },
};

for (const [name, parts] of Object.entries(broken)) {
  test(`a write with ${name} is invalid`, async (t) => {
    const node = await newNode();
    const error = await node.errorOf(node.engine.write({ ...good, ...parts }));
    t.true(isDroverError(error, 'invalid'), String(error));
    await node.run(node.engine.write(good));
  });
}
