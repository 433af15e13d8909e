import test from 'ava';
import { BlockKind, type WriteRequest } from '../../../store/engine/store-node.ts';
import {
  decodeRead,
  decodeReadAnswer,
  decodeWrite,
  encodeRead,
  encodeReadAnswer,
  encodeWrite,
  READ_BYTES,
  readAnswerMetaBytes,
  writeMetaBytes,
} from '../../../store/peer/hot-messages.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import * as hand from './frames-by-hand.ts';

const HEADER_BYTES = 24;

/** The meta of a frame whose payload has `payloadBytes`. */
function metaOf(frame: Buffer, payloadBytes: number): Buffer {
  return frame.subarray(HEADER_BYTES, frame.length - payloadBytes);
}

const REQUEST: WriteRequest = {
  volumeId: 2 ** 48 - 1,
  layerId: 2 ** 47 + 3,
  objectIndex: 2 ** 32 - 1,
  epoch: 2 ** 32 - 2,
  base: { epoch: 2 ** 32 - 3, seq: 2 ** 53 - 2 },
  target: { epoch: 2 ** 32 - 2, seq: 2 ** 53 - 1 },
  extents: [
    { startBlock: 0, blockCount: 1, kind: BlockKind.zero },
    { startBlock: 4000, blockCount: 2, kind: BlockKind.data },
    { startBlock: 4095, blockCount: 1, kind: BlockKind.hole },
  ],
  blockCrcs: Uint32Array.of(2 ** 32 - 1, 7),
  payload: [],
};

test('a write keeps every field at its largest', (t) => {
  const bytes = Buffer.alloc(10 + writeMetaBytes(REQUEST), 0xff);
  encodeWrite(bytes, 10, REQUEST);
  t.deepEqual(decodeWrite(bytes, 10, bytes.length - 10, 8192, []), REQUEST);
});

test('a write is the bytes that the format says', (t) => {
  const byHand = hand.write(1, { objectIndex: 9, seq: 2 ** 33, crcs: [77] });
  const request: WriteRequest = {
    ...REQUEST,
    volumeId: 5,
    layerId: 6,
    objectIndex: 9,
    epoch: 3,
    base: { epoch: 3, seq: 2 ** 33 - 1 },
    target: { epoch: 3, seq: 2 ** 33 },
    extents: [{ startBlock: 0, blockCount: 1, kind: BlockKind.data }],
    blockCrcs: Uint32Array.of(77),
  };
  const bytes = Buffer.alloc(writeMetaBytes(request));
  encodeWrite(bytes, 0, request);
  t.deepEqual(bytes, metaOf(byHand, 4096));
});

for (const [what, fields, payloadBytes] of [
  ['no extents', { extents: [], crcs: [] }, 0],
  [
    'overlapping extents',
    {
      extents: [
        [0, 2, 1],
        [1, 1, 1],
      ],
      crcs: [],
    },
    0,
  ],
  [
    'descending extents',
    {
      extents: [
        [5, 1, 1],
        [0, 1, 1],
      ],
      crcs: [],
    },
    0,
  ],
  ['an empty extent', { extents: [[0, 0, 1]], crcs: [] }, 0],
  ['an extent beyond the largest object', { extents: [[4095, 2, 1]], crcs: [] }, 0],
  ['an unknown kind', { extents: [[0, 1, 3]], crcs: [] }, 0],
  ['fewer checksums than data blocks', { extents: [[0, 2, 2]], crcs: [1] }, 4096],
  ['more checksums than data blocks', { extents: [[0, 1, 1]], crcs: [1] }, 4096],
  ['less payload than data blocks', { extents: [[0, 2, 2]], crcs: [1, 2] }, 4096],
  ['payload of half a block', { extents: [[0, 1, 2]], crcs: [1] }, 2048],
] as const) {
  test(`a write with ${what} is invalid`, (t) => {
    const payload = Buffer.alloc(payloadBytes);
    const frame = hand.write(1, { objectIndex: 1, seq: 1, ...fields, payload });
    const meta = metaOf(frame, payloadBytes);
    const error = t.throws(() => decodeWrite(meta, 0, meta.length, payloadBytes, []));
    t.true(isDroverError(error, 'invalid'));
  });
}

test('a write cut anywhere is invalid, never a crash', (t) => {
  const meta = metaOf(hand.write(1, { objectIndex: 1, seq: 1 }), 4096);
  for (let length = 0; length < meta.length; length += 1) {
    const error = t.throws(() => decodeWrite(meta.subarray(0, length), 0, length, 4096, []));
    t.true(isDroverError(error, 'invalid'));
  }
});

test('a seq of 2^53 is invalid', (t) => {
  const meta = Buffer.from(metaOf(hand.read(1, 1, 1, 1), 0));
  hand.version(3, 2 ** 53).copy(meta, 10);
  t.throws(() => decodeRead(meta, 0, meta.length), { message: /2\^53/ });
});

test('a read is the bytes that the format says', (t) => {
  const meta = metaOf(hand.read(1, 4, 2 ** 33 + 1, 8), 0);
  const request = decodeRead(meta, 0, meta.length);
  t.deepEqual(request, {
    layerId: 6,
    objectIndex: 4,
    expected: { epoch: 3, seq: 2 ** 33 + 1 },
    startBlock: 0,
    blockCount: 8,
  });
  const bytes = Buffer.alloc(READ_BYTES);
  encodeRead(bytes, 0, request);
  t.deepEqual(bytes, meta);
});

for (const blocks of [0, 4097]) {
  test(`a read of ${blocks} blocks is invalid`, (t) => {
    const meta = metaOf(hand.read(1, 4, 1, blocks), 0);
    t.true(
      isDroverError(
        t.throws(() => decodeRead(meta, 0, meta.length)),
        'invalid',
      ),
    );
  });
}

test('the answer of a read carries checksums for data blocks only', (t) => {
  const result = { kinds: Uint8Array.of(0, 2, 1, 2), blockCrcs: Uint32Array.of(0, 8, 0, 9) };
  const bytes = Buffer.alloc(readAnswerMetaBytes(4, 2));
  encodeReadAnswer(bytes, 0, result, 2);
  const byHand = [hand.u16(4), hand.u16(2), Buffer.of(0, 2, 1, 2), hand.u32(8), hand.u32(9)];
  t.deepEqual(bytes, Buffer.concat(byHand));
  t.deepEqual(decodeReadAnswer(bytes, 0, bytes.length, 8192, 4), result);
});

for (const [what, meta, payloadBytes] of [
  ['for another number of blocks', [hand.u16(2), hand.u16(0), Buffer.of(0, 0)], 0],
  ['with too little payload', [hand.u16(1), hand.u16(1), Buffer.of(2), hand.u32(5)], 0],
  ['with a kind that does not exist', [hand.u16(1), hand.u16(0), Buffer.of(7)], 0],
  [
    'with fewer data blocks than it says',
    [hand.u16(1), hand.u16(1), Buffer.of(0), hand.u32(5)],
    4096,
  ],
  ['with more data blocks than it says', [hand.u16(1), hand.u16(0), Buffer.of(2)], 0],
  ['that is cut short', [hand.u16(1)], 0],
] as const) {
  test(`an answer of a read ${what} is none`, (t) => {
    const bytes = Buffer.concat(meta);
    t.is(decodeReadAnswer(bytes, 0, bytes.length, payloadBytes, 1), undefined);
  });
}
