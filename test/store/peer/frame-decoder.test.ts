import test from 'ava';
import { FrameDecoder, type FrameSink } from '../../../store/peer/frame-decoder.ts';
import { META_BYTES_MAX, PAYLOAD_BYTES_MAX } from '../../../store/peer/limits.ts';
import type { FrameHead } from '../../../store/peer/wire.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { frame, hello, read, u32, write } from './frames-by-hand.ts';

/** Collects frames as text, receiving payload in buffers of the given sizes. */
class Collector implements FrameSink {
  readonly frames: string[] = [];
  /** Stops decoding behind every frame. */
  stops = false;
  drops = false;
  #head = '';
  #targets: Buffer[] = [];

  onHead(head: FrameHead, bytes: Buffer, metaStart: number): readonly Buffer[] | undefined {
    const meta = bytes.toString('hex', metaStart, metaStart + head.metaBytes);
    this.#head = `${head.type} ${head.flags} ${head.status} ${head.requestId} ${meta}`;
    if (this.drops) return undefined;
    const first = Math.floor(head.payloadBytes / 3);
    const sizes = [first, 0, head.payloadBytes - first];
    this.#targets = sizes.map((size) => Buffer.alloc(size));
    return this.#targets;
  }

  onFrameEnd(): boolean {
    this.frames.push(`${this.#head} ${Buffer.concat(this.#targets).toString('hex')}`);
    return !this.stops;
  }
}

const STREAM = Buffer.concat([
  hello(),
  read(7, 1, 2, 3),
  write(8, { objectIndex: 1, seq: 1, payload: Buffer.from('payload that is short'), crcs: [5] }),
  frame({ type: 2 }),
  frame({ type: 9, flags: 1, status: 513, requestId: 2 ** 32 - 1, meta: Buffer.alloc(700, 3) }),
]);

function decodeWhole(): string[] {
  const sink = new Collector();
  new FrameDecoder(sink, META_BYTES_MAX).push(STREAM, 0);
  return sink.frames;
}

test('fields, meta and payload are those of the bytes', (t) => {
  const frames = decodeWhole();
  t.is(frames.length, 5);
  t.is(frames[3], '2 0 0 0  ');
  t.is(frames[4], `9 1 513 4294967295 ${'03'.repeat(700)} `);
  t.true(frames[2]!.endsWith(Buffer.from('payload that is short').toString('hex')));
});

test('frames are the same wherever two cuts fall', (t) => {
  const expected = decodeWhole();
  for (let first = 0; first <= STREAM.length; first += 1) {
    const second = Math.min(STREAM.length, first + 1 + ((first * 7) % 40));
    const sink = new Collector();
    const decoder = new FrameDecoder(sink, META_BYTES_MAX);
    for (const [from, to] of [
      [0, first],
      [first, second],
      [second, STREAM.length],
    ] as const) {
      // Overwritten afterwards, as a receive buffer is.
      const chunk = Buffer.from(STREAM.subarray(from, to));
      decoder.push(chunk, 0);
      chunk.fill(0xdd);
    }
    if (sink.frames.join() !== expected.join()) t.fail(`cut at ${first} and ${second}`);
  }
  t.pass();
});

test('frames are the same when every byte comes alone', (t) => {
  const sink = new Collector();
  const decoder = new FrameDecoder(sink, META_BYTES_MAX);
  for (const byte of STREAM) decoder.push(Buffer.of(byte), 0);
  t.deepEqual(sink.frames, decodeWhole());
});

test('a sink that wants no more gets the rest later', (t) => {
  const sink = new Collector();
  sink.stops = true;
  const decoder = new FrameDecoder(sink, META_BYTES_MAX);
  let at = 0;
  for (let count = 1; at < STREAM.length; count += 1) {
    at = decoder.push(STREAM, at);
    t.is(sink.frames.length, count);
  }
  t.deepEqual(sink.frames, decodeWhole());
});

test('payload that nobody wants is dropped, and the next frame decoded', (t) => {
  const sink = new Collector();
  sink.drops = true;
  const decoder = new FrameDecoder(sink, META_BYTES_MAX);
  decoder.push(STREAM, 0);
  t.is(sink.frames.length, 5);
});

function changed(bytes: Buffer, at: number, to: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  to.copy(copy, at);
  return copy;
}

for (const [what, bytes, reason] of [
  ['another magic', changed(read(1, 1, 1, 1), 0, Buffer.from('X')), /no frame header/],
  ['an unknown flag', frame({ type: 3, flags: 2 }), /no frame header/],
  ['too much meta', changed(read(1, 1, 1, 1), 16, u32(META_BYTES_MAX + 1)), /bytes of meta/],
  ['too much payload', changed(read(1, 1, 1, 1), 20, u32(PAYLOAD_BYTES_MAX + 1)), /of payload/],
  ['a changed type', changed(read(1, 1, 1, 1), 8, Buffer.of(5)), /checksum/],
  ['a changed meta', changed(read(1, 1, 1, 1), 30, Buffer.of(99)), /checksum/],
] as const) {
  test(`${what} breaks the decoder, and nothing is decoded behind it`, (t) => {
    const sink = new Collector();
    const decoder = new FrameDecoder(sink, META_BYTES_MAX);
    decoder.push(Buffer.concat([bytes, STREAM]), 0);
    decoder.push(STREAM, 0);
    t.regex(decoder.brokenReason ?? '', reason);
    t.deepEqual(sink.frames, []);
  });
}

test('before the greeting less meta is allowed', (t) => {
  const sink = new Collector();
  const decoder = new FrameDecoder(sink, 100);
  decoder.push(frame({ type: 1, meta: Buffer.alloc(101) }), 0);
  t.regex(decoder.brokenReason ?? '', /101 bytes of meta; 100/);
});

test('every single changed byte of a head is noticed', (t) => {
  const bytes = read(77, 4, 5, 6);
  for (let at = 0; at < bytes.length; at += 1) {
    const sink = new Collector();
    const decoder = new FrameDecoder(sink, META_BYTES_MAX);
    decoder.push(changed(bytes, at, Buffer.of(bytes[at]! ^ 0x10)), 0);
    if (sink.frames.length > 0) t.fail(`byte ${at}`);
  }
  t.pass();
});

test('random bytes never throw and never become a frame', (t) => {
  const random = new SeededRandom(Number(process.env['DROVER_TEST_SEED'] ?? Date.now()));
  t.log(`seed ${random.seed}`);
  for (let round = 0; round < 300; round += 1) {
    const sink = new Collector();
    const decoder = new FrameDecoder(sink, META_BYTES_MAX);
    const whole = Buffer.from(STREAM);
    for (let i = 0; i < 1 + random.below(5); i += 1) whole[random.below(100)] = random.below(256);
    for (let at = 0; at < whole.length; ) {
      const end = at + 1 + random.below(200);
      decoder.push(whole.subarray(at, end), 0);
      at = end;
    }
    if (whole.subarray(0, 100).equals(STREAM.subarray(0, 100))) continue;
    if (sink.frames.length > 1) t.is(sink.frames[0], decodeWhole()[0]);
  }
  t.pass();
});
