import test from 'ava';
import { HandshakeDecoder, type HandshakeMessage } from '../../../server/nbd/handshake-decoder.ts';
import { hex, infoData, metaData, option, optionHeader, u32 } from './bytes.ts';

const KIB = 1024;

/** All messages of `pieces`, one `take` after another as a connection does it. */
function decode(...pieces: readonly Buffer[]): HandshakeMessage[] {
  const decoder = new HandshakeDecoder();
  const messages: HandshakeMessage[] = [];
  for (const piece of pieces) {
    let at = 0;
    for (;;) {
      at = decoder.take(piece, at, piece.length);
      const message = decoder.nextMessage();
      if (message === undefined) break;
      messages.push(message);
    }
  }
  return messages;
}

const GO_DATA = infoData('disk', 3);
const META_DATA = metaData('disk', 'base:allocation', 'x-other:y');

const STREAM = Buffer.concat([
  u32(3),
  option(8),
  option(99, 'data that nobody wants'),
  option(10, META_DATA),
  option(3, 'x'),
  option(1, 'disk'),
  option(7, GO_DATA),
]);

const MESSAGES: readonly HandshakeMessage[] = [
  { kind: 'clientFlags', flags: 3 },
  { kind: 'skippedOption', option: 8, lengthBytes: 0 },
  { kind: 'skippedOption', option: 99, lengthBytes: 22 },
  { kind: 'option', option: 10, data: META_DATA },
  { kind: 'skippedOption', option: 3, lengthBytes: 1 },
  { kind: 'option', option: 1, data: Buffer.from('disk') },
  { kind: 'option', option: 7, data: GO_DATA },
];

test('messages are decoded wherever the stream is cut', (t) => {
  t.deepEqual(decode(STREAM), [...MESSAGES]);
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    t.deepEqual(decode(STREAM.subarray(0, cut), STREAM.subarray(cut)), [...MESSAGES], `at ${cut}`);
  }
});

test('messages are decoded from single bytes', (t) => {
  const bytes = [...STREAM].map((byte) => Buffer.from([byte]));
  t.deepEqual(decode(...bytes), [...MESSAGES]);
});

test('bytes behind a message are not taken with it', (t) => {
  const decoder = new HandshakeDecoder();
  const stream = Buffer.concat([u32(0), option(7, GO_DATA), hex('25609513')]);
  t.is(decoder.take(stream, 0, stream.length), 4);
  decoder.nextMessage();
  t.is(decoder.take(stream, 4, stream.length), stream.length - 4);
  t.deepEqual(decoder.nextMessage(), { kind: 'option', option: 7, data: GO_DATA });
});

test('an option with a wrong magic number is told', (t) => {
  const bad = option(7, GO_DATA);
  bad[0] = 0;
  t.deepEqual(decode(u32(3), bad)[1], { kind: 'badMagic' });
});

test('option data of 64 KiB is held, one byte more is skipped', (t) => {
  const largest = Buffer.alloc(64 * KIB, 1);
  t.deepEqual(decode(u32(3), option(7, largest))[1], { kind: 'option', option: 7, data: largest });
  const messages = decode(u32(3), option(7, Buffer.alloc(64 * KIB + 1)), option(2));
  t.deepEqual(messages.slice(1), [
    { kind: 'skippedOption', option: 7, lengthBytes: 64 * KIB + 1 },
    { kind: 'skippedOption', option: 2, lengthBytes: 0 },
  ]);
});

test('4 GiB of option data are skipped without being held', (t) => {
  const decoder = new HandshakeDecoder();
  const start = Buffer.concat([u32(3), optionHeader(10, 0xffff_ffff)]);
  decoder.take(start, 0, start.length);
  decoder.nextMessage();
  decoder.take(start, 4, start.length);
  const before = process.memoryUsage().arrayBuffers;
  const piece = Buffer.alloc(16 * KIB * KIB);
  const pieceBytes = piece.length;
  for (let i = 0; i < 255; i += 1) decoder.take(piece, 0, pieceBytes);
  t.is(decoder.nextMessage(), undefined);
  t.is(decoder.take(piece, 0, pieceBytes), pieceBytes - 1);
  t.deepEqual(decoder.nextMessage(), {
    kind: 'skippedOption',
    option: 10,
    lengthBytes: 0xffff_ffff,
  });
  t.true(process.memoryUsage().arrayBuffers - before <= 2 * pieceBytes);
});
