import test from 'ava';
import { DroverError, type DroverErrorKind } from '../../../store/runtime/drover-error.ts';
import { chunk, pattern, request, simpleReply, u32 } from './bytes.ts';
import { startServer } from './raw-client.ts';

const READ = 0;
const WRITE = 1;
const FLUSH = 3;
const TRIM = 4;
const CACHE = 5;
const WRITE_ZEROES = 6;
const BLOCK_STATUS = 7;
const FUA = 1;
const NO_HOLE = 2;
const REQ_ONE = 8;
const FAST_ZERO = 16;

const EPERM = 1;
const EIO = 5;
const EINVAL = 22;
const ENOSPC = 28;

const MIB = 1024 * 1024;

test('FLUSH is answered when the device has flushed', async (t) => {
  const { device, attach } = await startServer(t);
  const client = await attach();
  let isFlushed = false;
  device.fault = async ({ operation }) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    isFlushed = operation === 'flush';
  };
  client.send(request(FLUSH, { cookie: 5 }));
  t.deepEqual(await client.take(16), simpleReply(5));
  t.true(isFlushed);
});

test('FLUSH that fails is answered with the error', async (t) => {
  const { device, attach } = await startServer(t);
  const client = await attach();
  device.fault = () => {
    throw new DroverError('unavailable', 'no copy in reach');
  };
  client.send(request(FLUSH, { cookie: 5 }));
  t.deepEqual(await client.take(16), simpleReply(5, EIO));
});

test('FLUSH on one connection comes after writes answered on another', async (t) => {
  const { device, attach } = await startServer(t);
  const one = await attach();
  const other = await attach();
  one.send(request(WRITE, { cookie: 1, payload: pattern(4096) }));
  await one.take(16);
  device.fault = ({ operation }) => {
    if (operation === 'flush') t.deepEqual(device.bytes.subarray(0, 4096), pattern(4096));
  };
  other.send(request(FLUSH, { cookie: 2 }));
  t.deepEqual(await other.take(16), simpleReply(2));
  t.plan(2);
});

for (const isResident of [true, false]) {
  test(`a WRITE with FUA is answered after its range is flushed (${isResident ? 'resident' : 'missing'})`, async (t) => {
    const { device, attach } = await startServer(t);
    device.isResident = isResident;
    const client = await attach();
    client.send(request(WRITE, { cookie: 1, flags: FUA, offset: 77, payload: pattern(100) }));
    t.deepEqual(await client.take(16), simpleReply(1));
    t.deepEqual(device.calls.at(-1), { operation: 'flushRange', offset: 77, lengthBytes: 100 });
    t.deepEqual(device.bytes.subarray(77, 177), pattern(100));
  });
}

test('TRIM and WRITE_ZEROES with FUA flush their range too', async (t) => {
  const { device, attach } = await startServer(t);
  const client = await attach();
  for (const [command, operation] of [
    [TRIM, 'trim'],
    [WRITE_ZEROES, 'writeZeroes'],
  ] as const) {
    device.calls.length = 0;
    client.send(request(command, { cookie: 1, flags: FUA, offset: 4096, length: 8192 }));
    t.deepEqual(await client.take(16), simpleReply(1));
    t.deepEqual(device.calls, [
      { operation, offset: 4096, lengthBytes: 8192 },
      { operation: 'flushRange', offset: 4096, lengthBytes: 8192 },
    ]);
  }
});

test('FUA on what writes nothing changes nothing', async (t) => {
  const { device, attach } = await startServer(t);
  const client = await attach();
  client.send(
    request(READ, { cookie: 1, flags: FUA, length: 0 }),
    request(FLUSH, { cookie: 1, flags: FUA }),
    request(CACHE, { cookie: 1, flags: FUA, length: 9 }),
  );
  t.deepEqual(await client.take(48), Buffer.concat([1, 1, 1].map((cookie) => simpleReply(cookie))));
  t.deepEqual(device.operations().sort(), ['flush', 'prefetch']);
});

test('a FUA whose flush fails is answered with the error', async (t) => {
  const { device, attach } = await startServer(t);
  const client = await attach();
  device.fault = ({ operation }) => {
    if (operation === 'flushRange') throw new DroverError('unavailable', 'no copy in reach');
  };
  client.send(request(WRITE, { cookie: 1, flags: FUA, payload: pattern(100) }));
  t.deepEqual(await client.take(16), simpleReply(1, EIO));
});

test('WRITE_ZEROES may punch holes unless told not to, and is always fast', async (t) => {
  const { device, attach } = await startServer(t);
  const client = await attach();
  device.bytes.fill(1);
  for (const flags of [0, NO_HOLE, FAST_ZERO, NO_HOLE | FAST_ZERO]) {
    client.send(request(WRITE_ZEROES, { cookie: 1, flags, offset: 1, length: 5000 }));
    t.deepEqual(await client.take(16), simpleReply(1));
  }
  t.deepEqual(device.punches, [true, false, true, false]);
  t.deepEqual([device.bytes[0], device.bytes[1], device.bytes[5001]], [1, 0, 1]);
});

test('TRIM, WRITE_ZEROES and CACHE take lengths beyond the largest payload', async (t) => {
  const { device, attach } = await startServer(t, { sizeBytes: 64 * MIB });
  const client = await attach();
  for (const command of [TRIM, WRITE_ZEROES, CACHE]) {
    client.send(request(command, { cookie: 1, length: 64 * MIB }));
    t.deepEqual(await client.take(16), simpleReply(1));
  }
  t.deepEqual(device.operations(), ['trim', 'writeZeroes', 'prefetch']);
});

test('BLOCK_STATUS describes the range, with REQ_ONE its first extent', async (t) => {
  const { device, attach } = await startServer(t);
  device.tryWrite(8192, 4096, pattern(4096), 0);
  const client = await attach({ baseAllocation: true });
  const ask = { cookie: 6, offset: 4096, length: 100_000 };
  const descriptors = [u32(1), u32(4096), u32(3), u32(4096), u32(0), u32(91_808), u32(3)];
  client.send(request(BLOCK_STATUS, ask));
  t.deepEqual(await client.take(20 + 28), chunk(6, true, 5, Buffer.concat(descriptors)));
  client.send(request(BLOCK_STATUS, { ...ask, flags: REQ_ONE }));
  const first = chunk(6, true, 5, Buffer.concat(descriptors.slice(0, 3)));
  t.deepEqual(await client.take(first.length), first);
});

test('BLOCK_STATUS for a context of another export is EINVAL', async (t) => {
  const { attach } = await startServer(t);
  const client = await attach({ structured: true });
  client.send(request(BLOCK_STATUS, { cookie: 6, length: 4096 }));
  const head = await client.take(20);
  t.is(head.readUInt16BE(6), 0x8001);
  t.is((await client.take(head.readUInt32BE(16))).readUInt32BE(0), EINVAL);
});

const ERROR_BY_KIND: Readonly<Record<DroverErrorKind, number>> = {
  notFound: EIO,
  exists: EIO,
  busy: EIO,
  invalid: EINVAL,
  outOfSpace: ENOSPC,
  fenced: EIO,
  conflict: EIO,
  corrupt: EIO,
  unavailable: EIO,
  readOnly: EPERM,
};

for (const [kind, error] of Object.entries(ERROR_BY_KIND)) {
  test(`a device that fails with ${kind} is error ${error}, and the connection goes on`, async (t) => {
    const { device, attach } = await startServer(t);
    device.isResident = false;
    const client = await attach();
    device.fault = () => {
      throw new DroverError(kind as DroverErrorKind, 'on purpose');
    };
    const requests = [
      request(READ, { length: 10 }),
      request(WRITE, { payload: pattern(10) }),
      request(TRIM, { length: 10 }),
      request(WRITE_ZEROES, { length: 10 }),
      request(CACHE, { length: 10 }),
      request(FLUSH),
    ];
    for (const message of requests) {
      client.send(message);
      t.deepEqual(await client.take(16), simpleReply(1, error));
    }
    device.fault = () => {};
    client.send(request(FLUSH));
    t.deepEqual(await client.take(16), simpleReply(1));
  });
}

test('a failed structured READ is an error chunk with the cause as text', async (t) => {
  const { device, attach } = await startServer(t);
  device.isResident = false;
  device.fault = () => {
    throw new DroverError('corrupt', 'block 7 does not match its checksum');
  };
  const client = await attach({ structured: true });
  client.send(request(READ, { cookie: 9, length: 10 }));
  const text = Buffer.from('block 7 does not match its checksum');
  const expected = chunk(
    9,
    true,
    0x8001,
    Buffer.concat([u32(EIO), Buffer.from([0, text.length]), text]),
  );
  t.deepEqual(await client.take(expected.length), expected);
});

test('requests run in parallel and are answered in the order in which they end', async (t) => {
  const { device, attach } = await startServer(t);
  device.isResident = false;
  const client = await attach();
  device.fault = ({ offset }) => new Promise((resolve) => setTimeout(resolve, 60 - offset));
  client.send(...[0, 30, 55].map((offset) => request(READ, { cookie: offset, offset, length: 1 })));
  const cookies = [];
  for (let i = 0; i < 3; i += 1) cookies.push(Number((await client.take(17)).readBigUInt64BE(8)));
  t.deepEqual(cookies, [55, 30, 0]);
  t.is(device.inFlightMax, 3);
});

test('a hit is answered while a miss is under way', async (t) => {
  const { device, attach } = await startServer(t);
  const client = await attach();
  device.delayAll(200);
  client.send(request(FLUSH, { cookie: 1 }), request(READ, { cookie: 2, length: 1 }));
  t.is(Number((await client.take(17)).readBigUInt64BE(8)), 2);
});
