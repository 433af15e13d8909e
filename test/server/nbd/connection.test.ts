import { once } from 'node:events';
import test from 'ava';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { eventually } from '../../support/time-limit.ts';
import {
  GREETING,
  infoData,
  metaData,
  option,
  optionReply,
  pattern,
  request,
  simpleReply,
  u32,
} from './bytes.ts';
import { ManualClock } from './manual-clock.ts';
import { type ServerOfTest, startServer } from './raw-client.ts';

const READ = 0;
const WRITE = 1;
const DISC = 2;
const FLUSH = 3;
const ERR_UNKNOWN = 0x8000_0006;
const ERR_SHUTDOWN = 0x8000_0007;
const MIB = 1024 * 1024;
/** Long enough for a machine that is busy with other things. */
const LIMIT_MS = 30_000;

/** Everything of a connection has been given back. */
async function allClosed({ server, device }: ServerOfTest, closes: number): Promise<void> {
  await eventually('all connections closed', LIMIT_MS, () => server.connections === 0);
  if (device.closes !== closes) throw new Error(`${device.closes} closes, not ${closes}`);
}

test('EXPORT_NAME leads into the transmission', async (t) => {
  const { connect } = await startServer(t);
  const client = await connect();
  await client.greet(1);
  client.send(option(1, 'disk'));
  t.is((await client.take(10 + 124)).readBigUInt64BE(0), BigInt(MIB));
  client.send(request(READ, { cookie: 3, length: 5 }));
  t.deepEqual(await client.take(21), simpleReply(3, 0, Buffer.alloc(5)));
});

test('requests sent ahead of the reply to GO are answered after it', async (t) => {
  const { catalog, connect } = await startServer(t);
  catalog.beforeOpen = () => new Promise((resolve) => setTimeout(resolve, 20));
  const client = await connect();
  client.send(u32(3), option(7, infoData('disk')), request(READ, { cookie: 3, length: 5 }));
  await client.take(GREETING.length + 20 + 12 + 20);
  t.deepEqual(await client.take(21), simpleReply(3, 0, Buffer.alloc(5)));
});

test('GO for an unknown export says so and may be followed by another', async (t) => {
  const { connect } = await startServer(t);
  const client = await connect();
  await client.greet();
  client.send(option(7, infoData('nosuch')));
  const expected = optionReply(7, ERR_UNKNOWN, "there is no export 'nosuch'");
  t.deepEqual(await client.take(expected.length), expected);
  client.send(option(7, infoData('disk')));
  await client.take(20 + 12 + 20);
  client.send(request(FLUSH, { cookie: 1 }));
  t.deepEqual(await client.take(16), simpleReply(1));
});

test('EXPORT_NAME of an unknown export closes the connection', async (t) => {
  const { connect, server } = await startServer(t);
  const client = await connect();
  await client.greet();
  client.send(option(1, 'nosuch'));
  await client.closed();
  t.is(server.stats.connectionsFaulted, 1);
});

const FAULTS: readonly (readonly [string, Buffer])[] = [
  ['unknown client flags', u32(8)],
  ['a wrong option magic', Buffer.concat([u32(3), Buffer.alloc(16, 1)])],
];

for (const [title, bytes] of FAULTS) {
  test(`${title} closes the connection and no other`, async (t) => {
    const { connect, attach } = await startServer(t);
    const other = await attach();
    const client = await connect();
    await client.take(GREETING.length);
    client.send(bytes);
    await client.closed();
    other.send(request(FLUSH, { cookie: 1 }));
    t.deepEqual(await other.take(16), simpleReply(1));
  });
}

test('a wrong request magic closes the connection and no other', async (t) => {
  const { attach } = await startServer(t);
  const other = await attach();
  const client = await attach();
  client.send(Buffer.alloc(28, 1));
  await client.closed();
  other.send(request(FLUSH, { cookie: 1 }));
  t.deepEqual(await other.take(16), simpleReply(1));
});

test('ABORT is acknowledged before the connection ends', async (t) => {
  const running = await startServer(t);
  const client = await running.connect();
  await client.greet();
  client.send(option(2));
  t.deepEqual(await client.take(20), optionReply(2, 1));
  await client.closed();
  await allClosed(running, 0);
});

test('a handshake has 10 seconds, however busy it is', async (t) => {
  const clock = new ManualClock();
  const { connect, server } = await startServer(t, {}, {}, clock);
  const silent = await connect();
  const chatty = await connect();
  await chatty.greet();
  clock.advance(9999);
  chatty.send(option(8));
  t.deepEqual(await chatty.take(20), optionReply(8, 1));
  clock.advance(1);
  await silent.closed();
  await chatty.closed();
  t.is(server.stats.connectionsFaulted, 2);
});

test('a handshake whose time ran out while its export was not to be had ends then', async (t) => {
  const clock = new ManualClock();
  const { catalog, connect } = await startServer(t, {}, {}, clock);
  catalog.beforeOpen = () => {
    clock.advance(10_000);
    throw new DroverError('unavailable', 'no copy in reach');
  };
  const client = await connect();
  await client.greet();
  client.send(option(7, infoData('disk')));
  await client.closed();
  t.pass();
});

test('the time of our own attaching is not held against the client', async (t) => {
  const clock = new ManualClock();
  const { catalog, connect } = await startServer(t, {}, {}, clock);
  catalog.beforeOpen = () => clock.advance(10_000);
  const client = await connect();
  await client.attach('disk');
  client.send(request(FLUSH, { cookie: 1 }));
  t.deepEqual(await client.take(16), simpleReply(1));
});

test('a transmission has no time limit', async (t) => {
  const clock = new ManualClock();
  const { attach } = await startServer(t, {}, {}, clock);
  const client = await attach();
  clock.advance(1_000_000);
  client.send(request(FLUSH, { cookie: 1 }));
  t.deepEqual(await client.take(16), simpleReply(1));
});

test('connections above the limit are closed at once, and there is room again after one ends', async (t) => {
  const { connect, attach, server } = await startServer(t, {}, { connectionsMax: 2 });
  const first = await attach();
  await attach();
  const third = await connect();
  await third.closed();
  t.is(server.stats.connectionsRefused, 1);
  first.socket.destroy();
  await eventually('room for one more', LIMIT_MS, () => server.connections === 1);
  const fourth = await attach();
  fourth.send(request(FLUSH, { cookie: 1 }));
  t.deepEqual(await fourth.take(16), simpleReply(1));
});

test('a client that asks in the handshake and reads no answers has to wait', async (t) => {
  const { connect, catalog } = await startServer(t);
  const client = await connect();
  await client.greet();
  client.socket.pause();
  const asks = 60_000;
  client.send(Buffer.concat(Array.from({ length: asks }, () => option(3))));
  let lists = 0;
  await eventually('the server has stopped answering', LIMIT_MS, () => {
    const isSame = lists === catalog.lists && lists > 0;
    lists = catalog.lists;
    return isSame;
  });
  // What the kernel holds of the replies, and 64 KiB.
  t.true(lists < asks / 2, `${lists}`);
  client.socket.resume();
  await eventually('all are answered', LIMIT_MS, () => catalog.lists === asks);
});

const WHOLE_SESSION = Buffer.concat([
  u32(3),
  option(8),
  option(10, metaData('disk', 'base:allocation')),
  option(7, infoData('disk', 1, 3)),
  request(WRITE, { cookie: 1, offset: 5, payload: pattern(64) }),
  request(READ, { cookie: 2, length: 100 }),
  request(WRITE, { cookie: 3, offset: 2 ** 40, payload: pattern(10) }),
  request(FLUSH, { cookie: 4 }),
  request(DISC),
]);

test('a client may vanish after any byte', async (t) => {
  const running = await startServer(t, {}, { connectionsMax: 1000 });
  const { device, attach, server } = running;
  device.delayAll(1);
  const { address } = await server.listen({ host: '127.0.0.1', port: 0 });
  for (let bytes = 0; bytes <= WHOLE_SESSION.length; bytes += 1) {
    const leaving = await running.connect();
    leaving.socket.end(WHOLE_SESSION.subarray(0, bytes));
    const broken = await running.connect(address);
    broken.socket.write(WHOLE_SESSION.subarray(0, bytes), () => broken.socket.resetAndDestroy());
  }
  await eventually('all connections closed', LIMIT_MS, () => server.connections === 0);
  t.is(device.inFlight, 0);
  const client = await attach();
  client.send(request(READ, { cookie: 9, offset: 5, length: 64 }));
  t.deepEqual(await client.take(80), simpleReply(9, 0, pattern(64)));
});

test('operations of a client that vanished run to their end before the device is closed', async (t) => {
  const running = await startServer(t);
  const { device, attach } = running;
  device.isResident = false;
  const client = await attach();
  let end = () => {};
  device.fault = () =>
    new Promise((resolve) => {
      end = resolve;
    });
  client.send(request(WRITE, { payload: pattern(100) }));
  await eventually('the write is under way', LIMIT_MS, () => device.inFlight === 1);
  client.socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.is(device.closes, 0);
  end();
  await allClosed(running, 1);
  t.is(device.inFlightAtClose, 0);
  t.deepEqual(device.bytes.subarray(0, 100), pattern(100));
});

test('a client that vanishes while its export is opened leaves nothing open', async (t) => {
  const running = await startServer(t);
  let open = () => {};
  running.catalog.beforeOpen = () =>
    new Promise((resolve) => {
      open = resolve;
    });
  const client = await running.connect();
  await client.greet();
  client.send(option(7, infoData('disk')));
  await eventually('the export is being opened', LIMIT_MS, () => running.catalog.uses.length === 1);
  // While opening, the server does not read, so only a reset would be noticed at once.
  client.socket.destroy();
  open();
  await allClosed(running, 1);
  t.pass();
});

test('what was held for clients that broke off is given back', async (t) => {
  const limits = { heldBytesAssured: 0, heldBytesTotalMax: 150_000 };
  const { server, device, attach, connect } = await startServer(t, {}, limits);
  const { address } = await server.listen({ host: '127.0.0.1', port: 0 });
  device.isResident = false;
  for (let i = 0; i < 3; i += 1) {
    let read = () => {};
    device.fault = () =>
      new Promise((resolve) => {
        read = resolve;
      });
    const client = await connect(address);
    await client.attach('disk');
    client.send(request(READ, { length: 100_000 }));
    await eventually('the read is under way', LIMIT_MS, () => device.inFlight === 1);
    client.socket.resetAndDestroy();
    await client.closed();
    await new Promise((resolve) => setTimeout(resolve, 10));
    read();
    await eventually('the connection is closed', LIMIT_MS, () => server.connections === 0);
  }
  const client = await attach();
  device.delayAll(1);
  device.inFlightMax = 0;
  client.send(request(READ, { length: 10 }), request(READ, { length: 10 }));
  await client.take(2 * 26);
  t.is(device.inFlightMax, 2);
});

test('a client that reads no replies is bounded, and others go on', async (t) => {
  const limits = { heldBytesMax: 4 * MIB };
  const { attach } = await startServer(t, { sizeBytes: 2 * MIB }, limits);
  const greedy = await attach();
  const other = await attach();
  greedy.socket.pause();
  const before = process.memoryUsage().arrayBuffers;
  const asks = Array.from({ length: 1000 }, () => request(READ, { length: MIB }));
  greedy.send(...asks);
  for (let i = 0; i < 20; i += 1) {
    other.send(request(READ, { cookie: i, length: 4096 }));
    t.deepEqual(await other.take(16 + 4096), simpleReply(i, 0, Buffer.alloc(4096)));
  }
  t.true(process.memoryUsage().arrayBuffers - before < 24 * MIB);
  // It gets all of them when it reads at last.
  greedy.socket.resume();
  for (let i = 0; i < 1000; i += 1) t.is((await greedy.take(16 + MIB)).readUInt32BE(4), 0);
});

test('DISC is followed by the replies under way and the end of the connection', async (t) => {
  const running = await startServer(t);
  running.device.delayAll(30);
  const client = await running.attach();
  client.send(request(FLUSH, { cookie: 8 }), request(DISC));
  t.deepEqual(await client.take(16), simpleReply(8));
  await client.closed();
  await allClosed(running, 1);
});

test('a client that stops sending still gets the replies under way', async (t) => {
  const running = await startServer(t);
  running.device.delayAll(30);
  const client = await running.attach();
  client.socket.end(request(FLUSH, { cookie: 8 }));
  t.deepEqual(await client.take(16), simpleReply(8));
  await client.closed();
  await allClosed(running, 1);
});

test('a client that keeps its side open after DISC is not waited for long', async (t) => {
  const clock = new ManualClock();
  const running = await startServer(t, {}, {}, clock);
  const client = await running.attach();
  client.socket.allowHalfOpen = true;
  client.send(request(DISC));
  await once(client.socket, 'end');
  t.is(running.server.connections, 1);
  clock.advance(1000);
  await allClosed(running, 1);
});

test('a client that does not take its last replies is not waited for for ever', async (t) => {
  const clock = new ManualClock();
  const running = await startServer(t, { sizeBytes: 8 * MIB }, {}, clock);
  const client = await running.attach();
  client.socket.pause();
  client.send(request(READ, { length: 8 * MIB }), request(DISC));
  await eventually(
    'the read is answered',
    LIMIT_MS,
    () => running.server.stats.requests[READ] === 1,
  );
  clock.advance(9999);
  t.is(running.server.connections, 1);
  clock.advance(1);
  await allClosed(running, 1);
});

test('an export that is taken away ends its connections after their requests', async (t) => {
  const running = await startServer(t);
  const { catalog, device, attach } = running;
  let flush = () => {};
  device.fault = () =>
    new Promise((resolve) => {
      flush = resolve;
    });
  const client = await attach();
  client.send(request(FLUSH, { cookie: 1 }));
  await eventually('the flush is under way', LIMIT_MS, () => device.inFlight === 1);
  catalog.uses[0]?.onDetach('the volume is removed');
  client.send(request(READ, { cookie: 2, length: 1 }));
  t.deepEqual(await client.take(16), simpleReply(2, 108));
  flush();
  t.deepEqual(await client.take(16), simpleReply(1));
  await client.closed();
  await allClosed(running, 1);
});

test('disconnectExport ends the connections of that export', async (t) => {
  const running = await startServer(t);
  const client = await running.attach();
  running.server.disconnectExport('other');
  client.send(request(FLUSH, { cookie: 1 }));
  await client.take(16);
  running.server.disconnectExport('disk');
  await client.closed();
  await allClosed(running, 1);
  t.pass();
});

test('closing the server lets requests under way be answered', async (t) => {
  const { server, device, attach, connect } = await startServer(t);
  device.delayAll(50);
  const client = await attach();
  const haggling = await connect();
  client.send(request(FLUSH, { cookie: 1 }));
  await eventually('the flush is under way', LIMIT_MS, () => device.inFlight === 1);
  const closed = server.close(5000);
  t.deepEqual(await client.take(16), simpleReply(1));
  await client.closed();
  await haggling.closed();
  await closed;
  t.is(device.closes, 1);
  await t.throwsAsync(connect());
});

test('closing the server while an export is opened is answered ERR_SHUTDOWN', async (t) => {
  const { server, catalog, device, connect } = await startServer(t);
  let open = () => {};
  catalog.beforeOpen = () =>
    new Promise((resolve) => {
      open = resolve;
    });
  const client = await connect();
  await client.greet();
  client.send(option(7, infoData('disk')));
  await eventually('the export is being opened', LIMIT_MS, () => catalog.uses.length === 1);
  const closed = server.close(5000);
  open();
  t.is((await client.take(20)).readUInt32BE(12), ERR_SHUTDOWN);
  await client.closed();
  await closed;
  t.is(device.closes, 1);
});

test('closing the server cuts off what has not ended in time', async (t) => {
  const clock = new ManualClock();
  const { server, device, attach } = await startServer(t, {}, {}, clock);
  const client = await attach();
  device.fault = () => new Promise(() => {});
  client.send(request(FLUSH, { cookie: 1 }));
  await eventually('the flush is under way', LIMIT_MS, () => device.inFlight === 1);
  const closed = server.close(5000);
  clock.advance(5000);
  await closed;
  await client.closed();
  t.is(device.closes, 0);
});

test('an export that is opened after its connection was cut off is closed again', async (t) => {
  const clock = new ManualClock();
  const { server, catalog, device, connect } = await startServer(t, {}, {}, clock);
  let open = () => {};
  catalog.beforeOpen = () =>
    new Promise((resolve) => {
      open = resolve;
    });
  const client = await connect();
  await client.greet();
  client.send(option(7, infoData('disk')));
  await eventually('the export is being opened', LIMIT_MS, () => catalog.uses.length === 1);
  const closed = server.close(5000);
  clock.advance(5000);
  await closed;
  t.is(device.closes, 0);
  open();
  await eventually('the device is closed', LIMIT_MS, () => device.closes === 1);
});

test('an export that cannot be attached may be tried again', async (t) => {
  const { catalog, connect } = await startServer(t);
  const client = await connect();
  await client.greet();
  catalog.beforeOpen = () => {
    throw new DroverError('unavailable', 'no copy in reach');
  };
  client.send(option(7, infoData('disk')));
  const expected = optionReply(7, ERR_UNKNOWN, 'no copy in reach');
  t.deepEqual(await client.take(expected.length), expected);
  catalog.beforeOpen = () => {};
  client.send(option(7, infoData('disk')));
  t.is((await client.take(52)).readUInt32BE(12), 3);
});
