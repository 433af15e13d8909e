import test from 'ava';
import type { VerifyProgress } from '../../../store/replication/verify.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { makeScene } from './sim/scene.ts';
import { LAYER_ID, writeStamp } from './sim/sim-cluster.ts';

const KEY = { layerId: LAYER_ID, objectIndex: 2 };

async function withTwoObjects() {
  const scene = await makeScene();
  await scene.write(2, 5, 1);
  await scene.write(4, 5, 2);
  const verify = (isDeep: boolean) =>
    scene.timeline.until('verify', 5000, scene.store.verify({ isDeep }));
  return { ...scene, verify };
}

test('equal copies have no differences', async (t) => {
  const { verify } = await withTwoObjects();
  t.deepEqual(await verify(true), {
    nodeIds: ['n1', 'n2', 'n3'],
    objects: 2,
    differences: [],
    differenceCount: 0,
  });
});

test('a hole and a block of zeros are the same', async (t) => {
  const { cluster, verify } = await withTwoObjects();
  const zero = { kind: 1, crc: 0, bytes: Buffer.alloc(0) } as const;
  cluster.node('n2').object(KEY)!.blocks.set(9, zero);
  t.is((await verify(false)).differenceCount, 0);
});

test('another version, another content, and a missing object are told with node and object', async (t) => {
  const { cluster, verify } = await withTwoObjects();
  cluster.node('n2').object(KEY)!.version = { epoch: 1, seq: 9 };
  const other = cluster.node('n3').object(KEY)!.blocks;
  other.set(5, { ...other.get(5)!, crc: 77 });
  cluster.node('n3').layer(LAYER_ID).delete(4);
  const { differences } = await verify(false);
  t.deepEqual(
    differences.map(({ objectIndex, nodeId, what }) => `${objectIndex} ${nodeId} ${what}`).sort(),
    ['2 n2 version 1.9, not 1.1', '2 n3 block 5 differs from node n1', '4 n3 version 0.0, not 1.1'],
  );
});

test('bytes that do not match their checksum are found by a deep comparison only', async (t) => {
  const { cluster, verify } = await withTwoObjects();
  cluster.node('n2').flipBit(KEY, 5);
  t.is((await verify(false)).differenceCount, 0);
  t.deepEqual((await verify(true)).differences, [
    { objectIndex: 2, nodeId: 'n2', what: 'block 5 does not match its checksum' },
  ]);
});

test('what a deep comparison finds damaged is repaired, however slow that copy is', async (t) => {
  const { cluster, gateway, store, verify } = await withTwoObjects();
  gateway.link('n2').delays = { requestMsMax: 200, answerMsMax: 200 };
  cluster.node('n2').flipBit(KEY, 5);
  t.is((await verify(true)).differenceCount, 1);
  t.is((await verify(true)).differenceCount, 0);
  t.deepEqual(
    store.status().replicas.map(({ nodeId, repairs }) => [nodeId, repairs]),
    [
      ['n1', 0],
      ['n2', 1],
      ['n3', 0],
    ],
  );
});

test('a comparison beside writes finds no difference that is not there', async (t) => {
  const { store, timeline, gateway } = await withTwoObjects();
  gateway.link('n2').delays = { requestMsMax: 20, answerMsMax: 20 };
  let stamp = 10;
  for (let round = 0; round < 30; round++) {
    const [report] = await Promise.all([
      timeline.until('verify', 1000, store.verify({ isDeep: false })),
      timeline.until('write', 1000, writeStamp(store, 2, round % 16, stamp++)),
    ]);
    t.is(report.differenceCount, 0);
  }
});

test('a comparison tells its progress, and ends when it is not wanted any more', async (t) => {
  const { store, timeline } = await withTwoObjects();
  const seen: string[] = [];
  const onProgress = ({ objects, objectsTotal }: VerifyProgress) =>
    seen.push(`${objects} of ${objectsTotal}`);
  await timeline.until('verify', 1000, store.verify({ isDeep: false, onProgress }));
  t.deepEqual(seen, ['0 of 2', '1 of 2', '2 of 2']);
  const listener = new AbortController();
  listener.abort(new DroverError('unavailable', 'nobody listens'));
  const given = store.verify({ isDeep: false, signal: listener.signal });
  const error = await t.throwsAsync(timeline.until('verify', 1000, given));
  t.is(error.message, 'nobody listens');
});
