/**
 * The bytes on disk: they say what docs/formats.md says, and nothing that is damaged passes.
 */

import { crc32 } from '@node-rs/crc32';
import test from 'ava';
import { Append } from '../../../store/engine/append.ts';
import { decodeRecords, outlineBatch } from '../../../store/engine/batch-decoder.ts';
import { BatchEncoder } from '../../../store/engine/batch-encoder.ts';
import { decodeObject, encodeObject } from '../../../store/engine/index-codec.ts';
import { type LogRecord, RecordType } from '../../../store/engine/log-record.ts';
import { isStored, ObjectEntry, SEGMENT_ZERO } from '../../../store/engine/object-entry.ts';
import { decodeSegmentHeader, encodeSegmentHeader } from '../../../store/engine/segment-header.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const NONCE = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
const SEGMENT_BLOCKS = 64;

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** The batch of `sampleRecord`, built by hand from the tables of docs/formats.md. */
function batchByHand(): Buffer {
  const record = Buffer.concat([
    Buffer.of(1, 0),
    u16(2),
    u32(2),
    u64(0x112233445566n),
    u64(0x665544332211n),
    u32(0xfffffffe),
    u32(7),
    u32(6),
    u32(7),
    u64(2n ** 53n - 2n),
    u64(2n ** 53n - 1n),
    Buffer.concat([u16(3), u16(2), Buffer.of(2, 0, 0, 0)]),
    Buffer.concat([u16(4000), u16(96), Buffer.of(1, 0, 0, 0)]),
    u32(0xdeadbeef),
    u32(0xcafebabe),
  ]);
  const body = Buffer.concat([
    Buffer.from('DBAT', 'latin1'),
    NONCE,
    u32(5),
    u32(9),
    u64(77n),
    u32(56 + record.length),
    u32(2),
    u32(1),
    u32(0),
    record,
  ]);
  const whole = Buffer.alloc(4096);
  Buffer.concat([u32(crc32(body, NONCE.readUInt32LE(0))), body]).copy(whole);
  return whole;
}

function sampleRecord(): Append {
  const record = new Append(RecordType.write, undefined);
  record.volumeId = 0x112233445566;
  record.layerId = 0x665544332211;
  record.objectIndex = 0xfffffffe;
  record.epoch = 7;
  record.baseEpoch = 6;
  record.targetEpoch = 7;
  record.baseSeq = 2 ** 53 - 2;
  record.targetSeq = 2 ** 53 - 1;
  record.extents = [
    { startBlock: 3, blockCount: 2, kind: 2 },
    { startBlock: 4000, blockCount: 96, kind: 1 },
  ];
  record.blockCrcs = Uint32Array.of(0xdeadbeef, 0xcafebabe);
  return record;
}

function decode(
  bytes: Buffer,
  position = 9,
  segmentId = 5,
  nonce = NONCE,
): LogRecord[] | undefined {
  const stamp = { segmentId, nonce };
  const outline = outlineBatch(bytes, stamp, position, SEGMENT_BLOCKS);
  return outline === undefined ? undefined : decodeRecords(bytes, stamp, outline);
}

test('a batch is written as the format says', (t) => {
  const record = sampleRecord();
  const place = { nonce: NONCE, segmentId: 5, position: 9, batchSeq: 77 };
  const bytes = new BatchEncoder().encode([record], 56 + record.headerBytes, 2, place);
  t.deepEqual(bytes, batchByHand());
});

test('a batch is read as the format says', (t) => {
  const [record] = decode(batchByHand()) ?? [];
  const { volumeId, layerId, objectIndex, epoch, baseSeq, targetSeq, extents } = sampleRecord();
  t.like(record, { type: 1, volumeId, layerId, objectIndex, epoch, baseSeq, targetSeq });
  t.deepEqual(record?.extents, extents);
  t.deepEqual(record?.blockCrcs, Uint32Array.of(0xdeadbeef, 0xcafebabe));
  t.is(outlineBatch(batchByHand(), { segmentId: 5, nonce: NONCE }, 9, 64)?.batchSeq, 77);
});

test('a batch is not read from another place, segment or life of a file', (t) => {
  const bytes = batchByHand();
  t.truthy(decode(bytes));
  t.is(decode(bytes, 10), undefined);
  t.is(decode(bytes, 9, 6), undefined);
  t.is(decode(bytes, 9, 5, Buffer.alloc(16, 1)), undefined);
});

test('a batch with any one bit changed is not read', (t) => {
  const bytes = batchByHand();
  const headerBytes = bytes.readUInt32LE(40);
  for (let bit = 0; bit < headerBytes * 8; bit += 1) {
    const damaged = Buffer.from(bytes);
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    t.is(decode(damaged), undefined, `bit ${bit}`);
  }
});

test('a batch cut at any place is not read', (t) => {
  const bytes = batchByHand();
  const headerBytes = bytes.readUInt32LE(40);
  for (let length = 0; length < headerBytes; length += 1) {
    t.is(decode(bytes.subarray(0, length)), undefined);
  }
});

test('a batch whose numbers contradict one another is not read, though its checksum is right', (t) => {
  const changes: [number, Buffer][] = [
    [44, u32(3)],
    [48, u32(2)],
    [48, u32(5000)],
    [56, Buffer.of(8)],
    [56, Buffer.of(0)],
    [58, u16(3)],
    [60, u32(1)],
    [60, u32(0xffffffff)],
    [112, u16(4095)],
    [116, Buffer.of(3)],
  ];
  for (const [at, field] of changes) {
    const bytes = batchByHand();
    field.copy(bytes, at);
    const headerBytes = bytes.readUInt32LE(40);
    bytes.writeUInt32LE(crc32(bytes.subarray(4, headerBytes), NONCE.readUInt32LE(0)), 0);
    t.is(decode(bytes), undefined, `byte ${at}`);
  }
});

test('random bytes are no batch', (t) => {
  const random = new SeededRandom(8);
  for (let i = 0; i < 200; i += 1) {
    const bytes = random.bytes(4096);
    batchByHand().copy(bytes, 4, 4, 32);
    t.is(decode(bytes), undefined);
  }
});

test('a segment header is read back, and not with a bit changed', (t) => {
  const header = { segmentId: 12, segmentBytes: 1 << 26, nodeId: 'ab'.repeat(16), nonce: NONCE };
  const bytes = encodeSegmentHeader(header);
  t.deepEqual(decodeSegmentHeader(bytes), header);
  for (let bit = 0; bit < 64 * 8; bit += 1) {
    const damaged = Buffer.from(bytes);
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    t.is(decodeSegmentHeader(damaged), undefined, `bit ${bit}`);
  }
  t.is(decodeSegmentHeader(bytes.subarray(0, 4095)), undefined);
});

function contentOf(entry: ObjectEntry): unknown {
  const { epoch, seq, lsn, tableBlocks } = entry;
  const blocks = Array.from({ length: tableBlocks }, (_, block) => {
    const segmentId = entry.segmentAt(block);
    return isStored(segmentId)
      ? [segmentId, entry.positionAt(block), entry.crcAt(block)]
      : segmentId;
  });
  return { epoch, seq, lsn, blocks: blocks.slice(0, blocks.findLastIndex((one) => one !== 0) + 1) };
}

test('an object is read back from the index as it was', (t) => {
  const random = new SeededRandom(9);
  for (let i = 0; i < 200; i += 1) {
    const entry = new ObjectEntry(3, 4, 5);
    const blocks = random.between(1, 300);
    entry.lsn = random.uint32() * 1000;
    entry.epoch = random.uint32();
    entry.seq = random.uint32() * 100;
    for (let block = 0; block < blocks; block += 1) {
      const roll = random.fraction();
      if (roll < 0.2) {
        block += random.between(0, 80);
      } else if (roll < 0.4) {
        const end = Math.min(blocks, block + random.between(1, 80));
        entry.mark(block, end, SEGMENT_ZERO);
        block = end - 1;
      } else {
        const position = roll < 0.7 ? block + 1 : random.between(1, 16383);
        entry.reach(block, block + 1);
        entry.put(block, random.between(1, 3), position, random.uint32());
      }
    }
    const read = decodeObject(encodeObject(entry, Buffer.allocUnsafe), 3, 4, 5);
    t.deepEqual(contentOf(read), contentOf(entry));
  }
});

test('a damaged object of the index is told, and never read beyond its end', (t) => {
  const entry = new ObjectEntry(3, 4, 5);
  entry.reach(0, 16);
  for (let block = 0; block < 16; block += 1) entry.put(block, 7, 0, 0);
  const bytes = encodeObject(entry, Buffer.allocUnsafe);
  for (let length = 0; length < bytes.length; length += 1) {
    t.throws(() => decodeObject(bytes.subarray(0, length), 3, 4, 5), { instanceOf: DroverError });
  }
});
