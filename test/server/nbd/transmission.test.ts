import test from 'ava';
import { BufferPool } from '../../../server/nbd/buffer-pool.ts';
import { DEFAULT_LIMITS, type NbdLimits } from '../../../server/nbd/limits.ts';
import { Output } from '../../../server/nbd/output.ts';
import { ReceiveBuffer } from '../../../server/nbd/receive-buffer.ts';
import { NbdStats } from '../../../server/nbd/stats.ts';
import { Transmission } from '../../../server/nbd/transmission.ts';
import { BusyPoll, NO_BUSY_POLL } from '../../../store/runtime/busy-poll.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { chunk, dataChunk, holeChunk, pattern, request, simpleReply, u32 } from './bytes.ts';
import { MemoryDevice, type MemoryDeviceOptions } from './memory-device.ts';
import { FakeSocket } from './output-socket.ts';

const READ = 0;
const WRITE = 1;
const DISC = 2;
const EINVAL = 22;
const ENOSPC = 28;
const EPERM = 1;
const ESHUTDOWN = 108;

interface Session extends MemoryDeviceOptions {
  readonly structured?: boolean;
  readonly limits?: Partial<NbdLimits>;
  readonly pool?: BufferPool;
}

/** A transmission whose socket is the test. */
function begin({ structured = false, limits = {}, pool = sharedPool, ...options }: Session = {}) {
  const device = new MemoryDevice({ sizeBytes: 128 * 1024, ...options });
  const socket = new FakeSocket();
  const input = new ReceiveBuffer(pool);
  const held = { total: 0 };
  const stats = new NbdStats();
  const events = { disconnects: 0, violations: [] as string[] };
  const output = new Output(socket, pool, held, () => {});
  const transmission = new Transmission({
    device,
    output,
    pool,
    held,
    stats,
    clock: systemClock,
    busyPoll: new BusyPoll(systemClock, NO_BUSY_POLL),
    limits: { ...DEFAULT_LIMITS, ...limits },
    structuredReplies: structured,
    terms: {
      sizeBytes: device.sizeBytes,
      isReadOnly: device.isReadOnly,
      structuredReplies: structured,
      baseAllocation: structured,
    },
    onSettled: () => {},
    onDisconnect: () => {
      events.disconnects += 1;
    },
    onViolation: (reason) => events.violations.push(reason),
  });
  const receive = (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; ) {
      const copied = bytes.copy(input.target, 0, at);
      at += copied;
      input.arrived(copied);
      transmission.take(input);
      input.settle(transmission.neededBytes);
    }
  };
  /** Lets requests under way end; returns all replies so far. */
  const replies = async () => {
    while (transmission.inFlight > 0) await new Promise((resolve) => setImmediate(resolve));
    output.flush();
    return socket.bytes;
  };
  return { device, input, socket, output, stats, events, transmission, receive, replies };
}

const PAYLOAD = pattern(500);
/** One for all sessions: making the buffers takes longer than most tests. */
const sharedPool = new BufferPool();

/** Data, holes, refused requests with payload, and what needs a promise. */
const STREAM = Buffer.concat([
  request(WRITE, { cookie: 0xfedcba9876543210n, offset: 4000, payload: PAYLOAD }),
  request(READ, { cookie: 2, offset: 4000, length: 500 }),
  request(WRITE, { cookie: 3, offset: 2 ** 40, payload: pattern(300) }),
  request(WRITE, { cookie: 4, flags: 2, payload: pattern(200) }),
  request(77, { cookie: 5, length: 9 }),
  request(READ, { cookie: 6, offset: 2 ** 40, length: 1 }),
  request(WRITE, { cookie: 7, offset: 4001, payload: pattern(1, 5) }),
  request(READ, { cookie: 8, offset: 4000, length: 3 }),
]);

function many(count: number, message: (index: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => message(index)));
}

const CHANGED = Buffer.from([PAYLOAD[0]!, pattern(1, 5)[0]!, PAYLOAD[2]!]);

const STREAM_REPLIES = Buffer.concat([
  simpleReply(0xfedcba9876543210n),
  simpleReply(2, 0, PAYLOAD),
  simpleReply(3, ENOSPC),
  simpleReply(4, EINVAL),
  simpleReply(5, EINVAL),
  simpleReply(6, EINVAL),
  simpleReply(7),
  simpleReply(8, 0, CHANGED),
]);

test('requests are answered the same wherever the stream is cut', async (t) => {
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const session = begin();
    session.receive(STREAM.subarray(0, cut));
    session.receive(STREAM.subarray(cut));
    t.is(Buffer.compare(await session.replies(), STREAM_REPLIES), 0, `cut at ${cut}`);
  }
});

test('requests are answered the same when they come in single bytes', async (t) => {
  const session = begin();
  for (const byte of STREAM) session.receive(Buffer.from([byte]));
  t.deepEqual(await session.replies(), STREAM_REPLIES);
});

test('resident reads and writes are answered within the turn, without a promise', (t) => {
  const { device, receive, socket } = begin();
  receive(request(WRITE, { cookie: 1, payload: pattern(4096) }));
  receive(request(READ, { cookie: 2, length: 4096 }));
  t.deepEqual(socket.bytes, Buffer.concat([simpleReply(1), simpleReply(2, 0, pattern(4096))]));
  t.deepEqual(device.calls, []);
});

test('replies of one turn are one write', (t) => {
  const { receive, socket } = begin();
  receive(Buffer.concat([1, 2, 3, 4].map((cookie) => request(READ, { cookie, length: 100 }))));
  t.is(socket.writes, 1);
});

test('a READ that misses is answered like one that hits', async (t) => {
  const { device, receive, replies } = begin();
  device.bytes.set(PAYLOAD, 4000);
  device.isResident = false;
  receive(request(READ, { cookie: 2, offset: 4000, length: 500 }));
  t.deepEqual(await replies(), simpleReply(2, 0, PAYLOAD));
  t.deepEqual(device.operations(), ['read']);
});

for (const bytes of [4096, 200_000, 900_000, 10_000_000]) {
  test(`payload of a miss is its own while later bytes arrive (${bytes} bytes)`, async (t) => {
    const { device, receive, replies } = begin({ sizeBytes: 3 * bytes });
    device.isResident = false;
    device.delayAll(5);
    for (const index of [0, 1, 2]) {
      const offset = index * bytes;
      receive(request(WRITE, { cookie: index, offset, payload: pattern(bytes, index) }));
    }
    await replies();
    for (const index of [0, 1, 2]) {
      const written = device.bytes.subarray(index * bytes, (index + 1) * bytes);
      t.is(Buffer.compare(written, pattern(bytes, index)), 0);
    }
  });
}

for (const structured of [false, true]) {
  test(`what a miss has read is its own until the client takes it (${structured ? 'chunks' : 'simple'})`, async (t) => {
    const { device, receive, replies, socket } = begin({ structured, sizeBytes: 800_000 });
    for (const index of [0, 1, 2, 3]) {
      device.tryWrite(index * 200_000, 200_000, pattern(200_000, index), 0);
    }
    device.isResident = false;
    socket.isBlocked = true;
    const expected = [];
    for (const index of [0, 1, 2, 3]) {
      const offset = index * 200_000;
      receive(request(READ, { cookie: index, offset, length: 200_000 }));
      await replies();
      const content = pattern(200_000, index);
      expected.push(
        structured ? dataChunk(index, true, offset, content) : simpleReply(index, 0, content),
      );
    }
    socket.isBlocked = false;
    socket.takeAll();
    await new Promise((resolve) => setImmediate(resolve));
    t.is(Buffer.compare(await replies(), Buffer.concat(expected)), 0);
  });
}

test('the buffer of a request that failed is not used again', async (t) => {
  const { device, receive, replies } = begin({ pool: new BufferPool() });
  device.isResident = false;
  const lent = new Set<ArrayBufferLike>();
  const seen: ArrayBufferLike[] = [];
  device.fault = () => {
    throw new DroverError('unavailable', 'no copy in reach');
  };
  const { read, write } = device;
  device.read = (offset, target) => {
    seen.push(target.buffer);
    return read.call(device, offset, target);
  };
  device.write = (offset, source) => {
    seen.push(source.buffer);
    return write.call(device, offset, source);
  };
  for (let i = 0; i < 3; i += 1) {
    receive(request(READ, { cookie: i, length: 100_000 }));
    await replies();
    receive(request(WRITE, { cookie: i, payload: pattern(100_000) }));
    await replies();
  }
  for (const buffer of seen) lent.add(buffer);
  t.is(lent.size, 6);
  device.fault = () => {};
  seen.length = 0;
  for (let i = 0; i < 3; i += 1) {
    receive(request(READ, { cookie: i, length: 100_000 }));
    await replies();
    receive(request(WRITE, { cookie: i, payload: pattern(100_000) }));
    await replies();
  }
  t.false(seen.some((buffer) => lent.has(buffer)));
  t.is(new Set(seen).size, 1);
});

const MIB = 1024 * 1024;

for (const isResident of [true, false]) {
  for (const structured of [true, false]) {
    const kind = `${isResident ? 'resident' : 'missing'}, ${structured ? 'chunks' : 'simple'}`;
    test(`the largest request is written and read whole (${kind})`, async (t) => {
      const { device, receive, replies, socket } = begin({ sizeBytes: 40 * MIB, structured });
      device.isResident = isResident;
      const payload = pattern(32 * MIB);
      receive(request(WRITE, { cookie: 1, offset: 12345, payload }));
      t.deepEqual(await replies(), simpleReply(1));
      t.is(Buffer.compare(device.bytes.subarray(12345, 12345 + 32 * MIB), payload), 0);
      socket.taken.length = 0;
      receive(request(READ, { cookie: 2, offset: 12345, length: 32 * MIB }));
      const expected = structured ? dataChunk(2, true, 12345, payload) : simpleReply(2, 0, payload);
      t.is(Buffer.compare(await replies(), expected), 0);
    });
  }
}

for (const isResident of [true, false]) {
  const kind = isResident ? 'resident' : 'missing';

  test(`a structured READ tells holes as holes (${kind})`, async (t) => {
    const { device, receive, replies } = begin({ structured: true });
    device.tryWrite(8192, 4096, pattern(4096), 0);
    device.isResident = isResident;
    receive(request(READ, { cookie: 9, offset: 100, length: 20_000 }));
    t.deepEqual(
      await replies(),
      Buffer.concat([
        holeChunk(9, false, 100, 8092),
        dataChunk(9, false, 8192, pattern(4096)),
        holeChunk(9, true, 12_288, 7812),
      ]),
    );
  });

  test(`a structured READ of nothing but zeros is one hole (${kind})`, async (t) => {
    const { device, receive, replies } = begin({ structured: true });
    device.isResident = isResident;
    receive(request(READ, { cookie: 9, offset: 1, length: 8000 }));
    t.deepEqual(await replies(), holeChunk(9, true, 1, 8000));
  });

  test(`a READ with DF is one chunk with the zeros spelt out (${kind})`, async (t) => {
    const { device, receive, replies } = begin({ structured: true });
    device.tryWrite(8192, 4096, pattern(4096), 0);
    device.isResident = isResident;
    receive(request(READ, { cookie: 9, flags: 4, offset: 0, length: 65_536 }));
    const content = Buffer.alloc(65_536);
    content.set(pattern(4096), 8192);
    t.deepEqual(await replies(), dataChunk(9, true, 0, content));
  });
}

test('a READ of no bytes ends with an empty chunk, a simple one with no data', async (t) => {
  const structured = begin({ structured: true });
  structured.receive(request(READ, { cookie: 4 }));
  t.deepEqual(await structured.replies(), chunk(4, true, 0));
  const simple = begin();
  simple.receive(request(READ, { cookie: 4 }));
  t.deepEqual(await simple.replies(), simpleReply(4));
});

test('changes of no bytes do nothing', async (t) => {
  const { device, receive, replies } = begin();
  for (const command of [WRITE, 4, 5, 6]) receive(request(command, { cookie: 1 }));
  t.is((await replies()).length, 4 * 16);
  t.deepEqual(device.calls, []);
});

test('errors of a structured READ are chunks that say why', async (t) => {
  const { receive, replies } = begin({ structured: true });
  receive(request(READ, { cookie: 3, offset: 2 ** 40, length: 1 }));
  const text = 'the range goes past the end of the export';
  const payload = Buffer.concat([u32(EINVAL), Buffer.from([0, text.length]), Buffer.from(text)]);
  t.deepEqual(await replies(), chunk(3, true, 0x8001, payload));
});

test('a write to a read-only export is refused after its payload, and the next is understood', async (t) => {
  const { device, receive, replies } = begin({ isReadOnly: true });
  receive(request(WRITE, { cookie: 1, payload: pattern(100_000) }).subarray(0, 70_000));
  t.is((await replies()).length, 0);
  receive(request(WRITE, { cookie: 1, payload: pattern(100_000) }).subarray(70_000));
  receive(request(READ, { cookie: 2, length: 10 }));
  t.deepEqual(
    await replies(),
    Buffer.concat([simpleReply(1, EPERM), simpleReply(2, 0, Buffer.alloc(10))]),
  );
  t.is(device.bytes.indexOf(1), -1);
});

test('the payload of a WRITE above the maximum is skipped without being held', async (t) => {
  const { receive, replies, input } = begin();
  receive(request(WRITE, { cookie: 1, length: 64 * MIB }));
  for (let i = 0; i < 64; i += 1) {
    receive(Buffer.alloc(MIB));
    t.is(input.end, 0);
  }
  receive(request(READ, { cookie: 2, length: 1 }));
  t.deepEqual(
    await replies(),
    Buffer.concat([simpleReply(1, EINVAL), simpleReply(2, 0, Buffer.alloc(1))]),
  );
});

test('a wrong magic number is a violation, and nothing after it is looked at', (t) => {
  const { receive, events, socket } = begin();
  const bad = request(READ, { length: 1 });
  bad[3] = 0x14;
  receive(Buffer.concat([bad, request(READ, { length: 1 })]));
  t.is(events.violations.length, 1);
  t.is(socket.bytes.length, 0);
});

test('nothing after DISC is looked at', (t) => {
  const { receive, events, socket } = begin();
  receive(Buffer.concat([request(DISC), request(READ, { length: 1 }), Buffer.alloc(28)]));
  t.is(events.disconnects, 1);
  t.is(socket.bytes.length, 0);
  t.deepEqual(events.violations, []);
});

test('while refusing, requests are answered ESHUTDOWN and payload is skipped', async (t) => {
  const { device, transmission, receive, replies } = begin();
  transmission.refuseRequests();
  receive(
    Buffer.concat([
      request(WRITE, { cookie: 1, payload: pattern(100) }),
      request(READ, { cookie: 2, length: 5 }),
    ]),
  );
  t.deepEqual(
    await replies(),
    Buffer.concat([simpleReply(1, ESHUTDOWN), simpleReply(2, ESHUTDOWN)]),
  );
  t.is(device.bytes[0], 0);
});

test('replies for a client that is gone are dropped, and nothing is held for them', async (t) => {
  const { device, output, transmission, receive, replies } = begin();
  device.isResident = false;
  device.delayAll(2);
  receive(
    Buffer.concat([
      request(READ, { cookie: 1, length: 100_000 }),
      request(WRITE, { cookie: 2, payload: pattern(100) }),
    ]),
  );
  transmission.dropReplies();
  t.is((await replies()).length, 0);
  t.is(output.unsentBytes, 0);
  t.deepEqual(device.bytes.subarray(0, 100), pattern(100));
});

test('no more requests are begun than the limit allows, and all are carried out', async (t) => {
  const { device, input, transmission, receive, replies } = begin({ limits: { requestsMax: 3 } });
  device.isResident = false;
  device.delayAll(2);
  receive(many(10, (i) => request(READ, { cookie: i, length: 1 })));
  t.true(transmission.isPaused);
  t.is(device.inFlight, 3);
  while (transmission.isPaused) {
    await new Promise((resolve) => setImmediate(resolve));
    transmission.take(input);
  }
  t.is((await replies()).length, 10 * 17);
  t.is(device.inFlightMax, 3);
});

test('staged payload is bounded', (t) => {
  const limits = { heldBytesMax: 11_000 };
  const { device, transmission, receive } = begin({ limits });
  device.isResident = false;
  device.fault = () => new Promise(() => {});
  const payload = pattern(4096);
  receive(many(10, (i) => request(WRITE, { cookie: i, payload })));
  t.true(transmission.isPaused);
  t.is(device.inFlight, 3);
});

test('replies that the client does not take are bounded', (t) => {
  const limits = { heldBytesMax: 10_000 };
  const { socket, output, transmission, receive } = begin({ limits });
  socket.isBlocked = true;
  receive(many(10, (i) => request(READ, { cookie: i, length: 4096 })));
  t.true(transmission.isPaused);
  t.is(output.unsentBytes, 3 * (4096 + 16));
});

test('what the kernel takes at once does not count against the limits', (t) => {
  const { transmission, receive, socket } = begin({ limits: { heldBytesMax: 10_000 } });
  receive(many(50, (i) => request(READ, { cookie: i, length: 4096 })));
  t.false(transmission.isPaused);
  t.is(socket.bytes.length, 50 * (4096 + 16));
});

test('above the total of all connections, one is let in while it holds little itself', (t) => {
  const limits = { heldBytesAssured: 6000, heldBytesTotalMax: 0 };
  const { device, transmission, receive } = begin({ limits });
  device.isResident = false;
  device.fault = () => new Promise(() => {});
  const payload = pattern(4096);
  receive(many(10, (i) => request(WRITE, { cookie: i, payload })));
  t.true(transmission.isPaused);
  t.is(device.inFlight, 2);
});

test('requests, bytes, errors and durations are counted by command', async (t) => {
  const { receive, replies, stats } = begin();
  receive(STREAM);
  await replies();
  t.deepEqual([stats.requests[READ], stats.requests[WRITE], stats.requests[8]], [3, 4, 1]);
  t.deepEqual([stats.requestBytes[READ], stats.requestBytes[WRITE]], [503, 501]);
  t.is(stats.errorCount(WRITE, 3), 1);
  t.is(stats.errorCount(WRITE, 2), 1);
  t.is(stats.errorCount(8, 2), 1);
  t.is(
    stats.durations[READ]!.counts.reduce((sum, count) => sum + count, 0),
    3,
  );
});
