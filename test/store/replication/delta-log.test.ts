import test from 'ava';
import type { WriteRequest } from '../../../store/engine/store-node.ts';
import { DeltaLog } from '../../../store/replication/delta-log.ts';
import { DELTA_OBJECTS_MAX } from '../../../store/replication/limits.ts';

function writeOf(objectIndex: number, seq: number, startBlock: number): WriteRequest {
  return {
    volumeId: 1,
    layerId: 1,
    objectIndex,
    epoch: 2,
    base: { epoch: 2, seq: seq - 1 },
    target: { epoch: 2, seq },
    extents: [{ startBlock, blockCount: 2, kind: 2 }],
    blockCrcs: new Uint32Array(2),
    payload: [],
  };
}

test('changes add up from the version on that the node has', (t) => {
  const log = new DeltaLog(16);
  log.addWrite(writeOf(5, 8, 0), false);
  log.addWrite(writeOf(5, 9, 9), false);
  t.deepEqual([...log.changedSince(5, { epoch: 2, seq: 7 })!], [0b11, 0b110]);
});

test('a node with any other version gets no delta', (t) => {
  const log = new DeltaLog(16);
  log.addWrite(writeOf(5, 8, 0), false);
  for (const seq of [6, 8, 9]) t.is(log.changedSince(5, { epoch: 2, seq }), undefined);
  t.is(log.changedSince(5, { epoch: 1, seq: 7 }), undefined);
  t.is(log.changedSince(6, { epoch: 2, seq: 7 }), undefined);
});

test('the write that the node did not answer may be there or not', (t) => {
  const log = new DeltaLog(16);
  log.addWrite(writeOf(5, 8, 0), true);
  log.addWrite(writeOf(5, 9, 4), false);
  t.not(log.changedSince(5, { epoch: 2, seq: 7 }), undefined);
  t.not(log.changedSince(5, { epoch: 2, seq: 8 }), undefined);
  t.is(log.changedSince(5, { epoch: 2, seq: 9 }), undefined);
});

test('objects beyond the limit have no delta, and the others keep theirs', (t) => {
  const log = new DeltaLog(16);
  for (let at = 0; at <= DELTA_OBJECTS_MAX; at++) log.addWrite(writeOf(at, 8, 0), false);
  t.false(log.has(DELTA_OBJECTS_MAX));
  log.addWrite(writeOf(0, 9, 6), false);
  t.deepEqual([...log.changedSince(0, { epoch: 2, seq: 7 })!], [0b11000011, 0]);
});
