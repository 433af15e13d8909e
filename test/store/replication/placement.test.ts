import test from 'ava';
import { type PlaceableNode, placeVolume } from '../../../store/replication/placement.ts';

function nodesOf(...specs: [string, string, number][]): PlaceableNode[] {
  return specs.map(([nodeId, zone, capacityBytes]) => ({ nodeId, zone, capacityBytes }));
}

const SIX = nodesOf(
  ['a1', 'a', 100],
  ['a2', 'a', 100],
  ['b1', 'b', 100],
  ['b2', 'b', 100],
  ['c1', 'c', 100],
  ['c2', 'c', 100],
);

test('copies lie on different nodes in different zones', (t) => {
  for (let volumeId = 1; volumeId <= 200; volumeId++) {
    const zones = placeVolume(SIX, volumeId, 3).map((nodeId) => nodeId[0]);
    t.is(new Set(zones).size, 3);
  }
});

test('with fewer zones than copies every zone is used before one is used twice', (t) => {
  const nodes = nodesOf(['a1', 'a', 1], ['a2', 'a', 1], ['a3', 'a', 1], ['b1', 'b', 1]);
  for (let volumeId = 1; volumeId <= 50; volumeId++) {
    const placed = placeVolume(nodes, volumeId, 3);
    t.is(new Set(placed).size, 3);
    t.true(placed.includes('b1'));
  }
});

test('every process finds the same nodes, in whatever order it knows them', (t) => {
  for (let volumeId = 1; volumeId <= 50; volumeId++) {
    t.deepEqual(placeVolume(SIX, volumeId, 3), placeVolume([...SIX].reverse(), volumeId, 3));
  }
});

test('a node gets volumes in proportion to its capacity', (t) => {
  const nodes = nodesOf(['small', 'a', 100], ['large', 'b', 300]);
  let large = 0;
  for (let volumeId = 1; volumeId <= 4000; volumeId++) {
    if (placeVolume(nodes, volumeId, 1)[0] === 'large') large += 1;
  }
  t.true(Math.abs(large / 4000 - 0.75) < 0.03, `${large} of 4000`);
});

test('a node that comes moves only what it takes', (t) => {
  const more = [...SIX, ...nodesOf(['d1', 'd', 100])];
  for (let volumeId = 1; volumeId <= 200; volumeId++) {
    const before = placeVolume(SIX, volumeId, 3);
    const after = placeVolume(more, volumeId, 3);
    const gone = before.filter((nodeId) => !after.includes(nodeId));
    t.is(gone.length, after.includes('d1') ? 1 : 0);
  }
});

test('too few nodes are an error that says how many are needed', (t) => {
  t.throws(() => placeVolume(SIX.slice(0, 2), 1, 3), {
    message: '3 copies need 3 store nodes, and 2 are registered',
  });
});
