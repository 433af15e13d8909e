import test from 'ava';
import { Handshake, type HandshakeAnswer } from '../../../server/nbd/handshake.ts';
import { HandshakeDecoder } from '../../../server/nbd/handshake-decoder.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import {
  infoData,
  lengthPrefixed,
  metaData,
  option,
  optionHeader,
  optionReply,
  u16,
  u32,
  u64,
} from './bytes.ts';
import { MemoryCatalog } from './memory-catalog.ts';
import { MemoryDevice } from './memory-device.ts';

const ACK = 1;
const ERR_UNSUP = 0x8000_0001;
const ERR_POLICY = 0x8000_0002;
const ERR_INVALID = 0x8000_0003;
const ERR_UNKNOWN = 0x8000_0006;
const ERR_SHUTDOWN = 0x8000_0007;
const ERR_TOO_BIG = 0x8000_0009;

const MIB = 1024 * 1024;
/** HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, CAN_MULTI_CONN, CACHE, FAST_ZERO. */
const FLAGS = 0b1101_0110_1101;
const FLAG_DF = 1 << 7;
/** HAS_FLAGS, READ_ONLY, FLUSH, FUA, CAN_MULTI_CONN, CACHE. */
const FLAGS_READ_ONLY = 0b0101_0000_1111;

const disk = new MemoryDevice({ name: 'disk', sizeBytes: MIB });
const fixed = new MemoryDevice({ name: 'fixed', sizeBytes: 3, isReadOnly: true });

/** Answers of a handshake to `messages`, after client flags. */
function haggle(
  messages: readonly Buffer[],
  { clientFlags = 3, catalog = new MemoryCatalog(disk, fixed) } = {},
): { handshake: Handshake; answers: HandshakeAnswer[]; last: HandshakeAnswer } {
  const handshake = new Handshake(catalog);
  const decoder = new HandshakeDecoder();
  const stream = Buffer.concat([u32(clientFlags), ...messages]);
  const answers: HandshakeAnswer[] = [];
  for (let at = 0; ; ) {
    at = decoder.take(stream, at, stream.length);
    const message = decoder.nextMessage();
    if (message === undefined) break;
    answers.push(handshake.answer(message));
  }
  return { handshake, answers, last: answers.at(-1)! };
}

function replyOf(answer: HandshakeAnswer): Buffer {
  if (answer.kind !== 'reply' && answer.kind !== 'farewell') throw new Error(answer.kind);
  return answer.bytes;
}

/** Option, reply type and data of each reply in `bytes`. */
function repliesIn(bytes: Buffer): [option: number, type: number, data: Buffer][] {
  const replies: [number, number, Buffer][] = [];
  for (let at = 0; at < bytes.length; ) {
    const data = bytes.subarray(at + 20, at + 20 + bytes.readUInt32BE(at + 16));
    replies.push([bytes.readUInt32BE(at + 8), bytes.readUInt32BE(at + 12), data]);
    at += 20 + data.length;
  }
  return replies;
}

function errorOf(answer: HandshakeAnswer): number {
  const replies = repliesIn(replyOf(answer));
  return replies.length === 1 ? replies[0]![1] : 0;
}

function infoExport(sizeBytes: number, flags: number): Buffer {
  return Buffer.concat([u16(0), u64(sizeBytes), u16(flags)]);
}

test('both client flags are accepted, and none', (t) => {
  for (const clientFlags of [0, 1, 2, 3]) {
    t.is(haggle([], { clientFlags }).last.kind, 'silence');
  }
});

test('an unknown client flag ends the connection', (t) => {
  for (const clientFlags of [4, 7, 0x8000_0000]) {
    t.is(haggle([], { clientFlags }).last.kind, 'violation');
  }
});

test('a wrong magic number before an option ends the connection', (t) => {
  t.is(haggle([Buffer.alloc(16)]).last.kind, 'violation');
});

test('ABORT is acknowledged as the last word, data or not', (t) => {
  for (const data of ['', 'goodbye']) {
    const { last } = haggle([option(2, data)]);
    t.is(last.kind, 'farewell');
    t.deepEqual(replyOf(last), optionReply(2, ACK));
  }
});

test('LIST names every export with its description', (t) => {
  t.deepEqual(
    replyOf(haggle([option(3)]).last),
    Buffer.concat([
      optionReply(3, 2, Buffer.concat([lengthPrefixed('disk'), Buffer.from('disk in memory')])),
      optionReply(3, 2, Buffer.concat([lengthPrefixed('fixed'), Buffer.from('fixed in memory')])),
      optionReply(3, ACK),
    ]),
  );
});

test('options that take no data refuse some', (t) => {
  t.is(errorOf(haggle([option(3, 'x')]).last), ERR_INVALID);
  t.is(errorOf(haggle([option(8, 'x')]).last), ERR_INVALID);
});

test('STARTTLS is not supported', (t) => {
  t.is(errorOf(haggle([option(5)]).last), ERR_UNSUP);
});

test('unknown options are not supported, whatever their data, and the next one is understood', (t) => {
  for (const unknown of [0, 4, 11, 12, 0xffff_ffff]) {
    const { answers } = haggle([option(unknown, Buffer.alloc(100_000)), option(8)]);
    const replies = repliesIn(replyOf(answers[1]!));
    t.deepEqual([replies.length, replies[0]?.[0], replies[0]?.[1]], [1, unknown, ERR_UNSUP]);
    t.deepEqual(replyOf(answers[2]!), optionReply(8, ACK));
  }
});

test('data above 64 KiB is too big for every option that takes data', (t) => {
  for (const known of [6, 7, 9, 10]) {
    const { last } = haggle([optionHeader(known, 65_537), Buffer.alloc(65_537)]);
    t.is(errorOf(last), ERR_TOO_BIG, `option ${known}`);
  }
  t.is(haggle([option(1, Buffer.alloc(65_537, 'a'))]).last.kind, 'violation');
});

test('INFO tells size and flags, and what else was asked for', (t) => {
  t.deepEqual(
    replyOf(haggle([option(6, infoData('disk', 1, 2, 3, 77))]).last),
    Buffer.concat([
      optionReply(6, 3, infoExport(MIB, FLAGS)),
      optionReply(6, 3, Buffer.concat([u16(1), Buffer.from('disk')])),
      optionReply(6, 3, Buffer.concat([u16(2), Buffer.from('disk in memory')])),
      optionReply(6, 3, Buffer.concat([u16(3), u32(1), u32(4096), u32(32 * MIB)])),
      optionReply(6, ACK),
    ]),
  );
});

test('INFO that asks for nothing tells size and flags', (t) => {
  t.deepEqual(
    replyOf(haggle([option(6, infoData('fixed'))]).last),
    Buffer.concat([optionReply(6, 3, infoExport(3, FLAGS_READ_ONLY)), optionReply(6, ACK)]),
  );
});

test('structured replies bring the flag of unfragmented reads', (t) => {
  t.deepEqual(
    replyOf(haggle([option(8), option(6, infoData('disk'))]).last),
    Buffer.concat([optionReply(6, 3, infoExport(MIB, FLAGS | FLAG_DF)), optionReply(6, ACK)]),
  );
});

test('an unknown export is unknown to INFO and to both context options', (t) => {
  t.is(errorOf(haggle([option(6, infoData('nosuch'))]).last), ERR_UNKNOWN);
  for (const known of [9, 10]) {
    t.is(errorOf(haggle([option(8), option(known, metaData('nosuch'))]).last), ERR_UNKNOWN);
  }
});

test('the empty name means the only export, and none of several', (t) => {
  const catalog = new MemoryCatalog(disk);
  const replies = repliesIn(replyOf(haggle([option(6, infoData('', 1))], { catalog }).last));
  t.deepEqual(replies[1]?.[2], Buffer.concat([u16(1), Buffer.from('disk')]));
  t.is(errorOf(haggle([option(6, infoData(''))]).last), ERR_UNKNOWN);
});

const BAD_INFO_DATA: readonly (readonly [string, Buffer])[] = [
  ['no data', Buffer.alloc(0)],
  ['half a length', Buffer.alloc(3)],
  ['a name longer than the data', Buffer.concat([u32(5), Buffer.from('disk'), u16(0)])],
  ['a name of 4 GiB', Buffer.concat([u32(0xffff_ffff), Buffer.from('disk'), u16(0)])],
  ['no count', lengthPrefixed('disk')],
  ['a count too high', Buffer.concat([lengthPrefixed('disk'), u16(2), u16(1)])],
  ['a count too low', Buffer.concat([lengthPrefixed('disk'), u16(0), u16(1)])],
  ['half a request', Buffer.concat([lengthPrefixed('disk'), u16(1), Buffer.alloc(1)])],
  ['a name of 4097 bytes', infoData('a'.repeat(4097))],
  ['a name holding NUL', infoData('di\0sk')],
  ['a name that is not UTF-8', infoData(Buffer.from([0x64, 0xff]))],
];

for (const [title, data] of BAD_INFO_DATA) {
  test(`INFO and GO with ${title} are invalid, and the session goes on`, (t) => {
    for (const known of [6, 7]) {
      const { answers } = haggle([option(known, data), option(8)]);
      t.is(errorOf(answers[1]!), ERR_INVALID);
      t.deepEqual(replyOf(answers[2]!), optionReply(8, ACK));
    }
  });
}

const BAD_META_DATA: readonly (readonly [string, Buffer])[] = [
  ['no data', Buffer.alloc(0)],
  ['no count', lengthPrefixed('disk')],
  ['a count too high', Buffer.concat([lengthPrefixed('disk'), u32(2), lengthPrefixed('base:')])],
  ['a count of 4 billion', Buffer.concat([lengthPrefixed('disk'), u32(0xffff_ffff)])],
  ['a count too low', Buffer.concat([lengthPrefixed('disk'), u32(0), lengthPrefixed('base:')])],
  ['a query longer than the data', Buffer.concat([lengthPrefixed('disk'), u32(1), u32(9)])],
  ['a query of 4097 bytes', metaData('disk', `base:${'a'.repeat(4092)}`)],
  ['a query holding NUL', metaData('disk', 'base:\0')],
  ['a name of 4097 bytes', metaData('a'.repeat(4097))],
  ['a name holding NUL', metaData('di\0sk')],
];

for (const [title, data] of BAD_META_DATA) {
  test(`the context options with ${title} are invalid`, (t) => {
    for (const known of [9, 10]) {
      t.is(errorOf(haggle([option(8), option(known, data)]).last), ERR_INVALID);
    }
  });
}

test('the context options come after structured replies', (t) => {
  for (const known of [9, 10]) {
    t.is(errorOf(haggle([option(known, metaData('disk', 'base:'))]).last), ERR_INVALID);
  }
});

function contextReplies(known: number, ...queries: readonly string[]): number {
  const { last } = haggle([option(8), option(known, metaData('disk', ...queries))]);
  const replies = repliesIn(replyOf(last));
  for (const [, type, data] of replies.slice(0, -1)) {
    if (type !== 4 || data.subarray(4).toString() !== 'base:allocation') throw new Error('reply');
  }
  if (replies.at(-1)![1] !== ACK) throw new Error('no acknowledgement');
  return replies.length - 1;
}

test('LIST_META_CONTEXT lists by name, by the wildcard, and all when nothing is asked', (t) => {
  t.is(contextReplies(9), 1);
  t.is(contextReplies(9, 'base:'), 1);
  t.is(contextReplies(9, 'base:allocation'), 1);
  t.is(contextReplies(9, 'x-other:', 'base:allocation', 'base:'), 1);
  t.is(contextReplies(9, 'base:nosuch', 'qemu:', 'nonsense', ''), 0);
});

test('SET_META_CONTEXT selects by the full name only', (t) => {
  t.is(contextReplies(10), 0);
  t.is(contextReplies(10, 'base:'), 0);
  t.is(contextReplies(10, 'base:alloc', 'base:allocation2', 'x-other:y'), 0);
  t.is(contextReplies(10, 'x-other:y', 'base:allocation'), 1);
});

function baseAllocationAfter(...messages: readonly Buffer[]): boolean {
  const { handshake, last } = haggle([option(8), ...messages, option(7, infoData('disk'))]);
  if (last.kind !== 'open') throw new Error(last.kind);
  return handshake.opened(last.request, disk, '').negotiated.baseAllocation;
}

test('a context is bound to the name it was selected for', (t) => {
  t.true(baseAllocationAfter(option(10, metaData('disk', 'base:allocation'))));
  t.false(baseAllocationAfter());
  t.false(baseAllocationAfter(option(10, metaData('fixed', 'base:allocation'))));
});

test('a second SET_META_CONTEXT replaces the first, even when it fails', (t) => {
  const selected = option(10, metaData('disk', 'base:allocation'));
  t.false(baseAllocationAfter(selected, option(10, metaData('disk'))));
  t.false(baseAllocationAfter(selected, option(10, metaData('nosuch', 'base:allocation'))));
  t.false(baseAllocationAfter(selected, option(10, 'nonsense')));
  t.false(baseAllocationAfter(selected, option(10, Buffer.alloc(65_537))));
  t.true(baseAllocationAfter(option(10, metaData('disk')), selected));
});

test('LIST_META_CONTEXT selects nothing and forgets nothing', (t) => {
  const listing = option(9, metaData('disk', 'base:allocation'));
  t.false(baseAllocationAfter(listing));
  t.true(baseAllocationAfter(option(10, metaData('disk', 'base:allocation')), listing));
});

test('GO that succeeds is answered like INFO', (t) => {
  const { handshake, last } = haggle([option(7, infoData('disk', 2, 3))]);
  if (last.kind !== 'open') throw new Error(last.kind);
  t.is(last.request.exportName, 'disk');
  t.deepEqual(
    handshake.opened(last.request, disk, 'a text').bytes,
    Buffer.concat([
      optionReply(7, 3, infoExport(MIB, FLAGS)),
      optionReply(7, 3, Buffer.concat([u16(2), Buffer.from('a text')])),
      optionReply(7, 3, Buffer.concat([u16(3), u32(1), u32(4096), u32(32 * MIB)])),
      optionReply(7, ACK),
    ]),
  );
});

test('GO that fails says why and leaves the session open', (t) => {
  const { handshake, last } = haggle([option(7, infoData('nosuch'))]);
  if (last.kind !== 'open') throw new Error(last.kind);
  const errors: [DroverError, number][] = [
    [new DroverError('notFound', 'none of that name'), ERR_UNKNOWN],
    [new DroverError('busy', 'attached elsewhere'), ERR_POLICY],
    [new DroverError('unavailable', 'no copy in reach'), ERR_UNKNOWN],
  ];
  for (const [error, code] of errors) {
    const reply = replyOf(handshake.refused(last.request, error));
    t.deepEqual(reply, optionReply(7, code, error.message));
  }
  t.is(errorOf(handshake.shutDown(last.request)), ERR_SHUTDOWN);
});

test('EXPORT_NAME is answered with 124 zeroes unless both sides want none', (t) => {
  for (const [clientFlags, zeroes] of [
    [1, 124],
    [3, 0],
  ] as const) {
    const { handshake, last } = haggle([option(1, 'disk')], { clientFlags });
    if (last.kind !== 'open') throw new Error(last.kind);
    t.deepEqual(
      handshake.opened(last.request, disk, '').bytes,
      Buffer.concat([u64(MIB), u16(FLAGS), Buffer.alloc(zeroes)]),
    );
  }
});

test('EXPORT_NAME that cannot be met ends the connection', (t) => {
  t.is(haggle([option(1, 'di\0sk')]).last.kind, 'violation');
  t.is(haggle([option(1, 'a'.repeat(4097))]).last.kind, 'violation');
  const { handshake, last } = haggle([option(1, 'nosuch')]);
  if (last.kind !== 'open') throw new Error(last.kind);
  t.is(handshake.refused(last.request, new DroverError('notFound', 'no')).kind, 'violation');
});
