/**
 * Clients that break the protocol, vanish or never read, against a real process: another client is
 * served meanwhile, and memory and sockets stay bounded.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { DroverServer } from '../support/drover-server.ts';
import { residentBytes, residentBytesPeak } from '../support/memory.ts';
import {
  CMD_FLUSH,
  CMD_READ,
  CMD_WRITE,
  connectSocket,
  NbdClient,
  requestBytes,
} from '../support/nbd-client.ts';
import { goData, OPT_GO, optionBytes } from '../support/nbd-handshake.ts';
import { randomForTest, type SeededRandom } from '../support/seeded-random.ts';
import { stampedBytes, stampOf } from '../support/stamped-disk-model.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { eventually } from '../support/time-limit.ts';

const MIB = 1024 * 1024;
const BLOCK_BYTES = 4096;
const CACHE_MIB = 64;
/** What a well-behaved client waits at most for one answer, on a machine that is busy. */
const ANSWER_MS_MAX = 5_000;
const CLIENT_FLAGS = Buffer.from([0, 0, 0, 3]);

async function serve(t: ExecutionContext): Promise<DroverServer> {
  t.timeout(120_000);
  const folder = await temporaryFolder(t);
  return DroverServer.start(t, {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=256M'],
    cache: `${CACHE_MIB}M`,
  });
}

/** Writes, flushes and reads on a connection of its own for as long as `badness` lasts. */
async function servedMeanwhile(
  t: ExecutionContext,
  server: DroverServer,
  badness: Promise<unknown>,
): Promise<void> {
  let over = false;
  const ended = badness.finally(() => {
    over = true;
  });
  ended.catch(() => {});
  const client = await NbdClient.attach(server.unixAddress, 'disk0');
  let longestMs = 0;
  for (let stamp = 1; !over; stamp++) {
    const block = stamp % 1024;
    const startMs = performance.now();
    await client.write(block * BLOCK_BYTES, stampedBytes(block, 1, stamp));
    await client.flush();
    const bytes = await client.read(block * BLOCK_BYTES, BLOCK_BYTES);
    longestMs = Math.max(longestMs, performance.now() - startMs);
    t.is(stampOf(block, bytes), stamp);
    await sleep(1);
  }
  await ended;
  await client.disconnect();
  t.true(longestMs < ANSWER_MS_MAX, `another client waited ${longestMs} ms`);
  t.is(server.program.status, undefined, 'the process must live on');
}

async function badSocket(server: DroverServer): Promise<Socket> {
  const socket = await connectSocket(server.tcpAddress);
  // A connection that the server resets is what a bad client deserves.
  socket.on('error', () => {});
  return socket;
}

/** The end of a connection, whichever way it comes. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
  });
}

/** A connection in transmission, made without reading what the server says. */
async function blindlyAttached(server: DroverServer): Promise<Socket> {
  const socket = await badSocket(server);
  socket.write(Buffer.concat([CLIENT_FLAGS, optionBytes(OPT_GO, goData('disk0'))]));
  return socket;
}

/** Everything a short, correct session says. */
function wholeSession(): Buffer {
  return Buffer.concat([
    CLIENT_FLAGS,
    optionBytes(OPT_GO, goData('disk0')),
    requestBytes(CMD_WRITE, 0, 1, 128 * MIB, 64 * 1024),
    Buffer.alloc(64 * 1024, 0x77),
    requestBytes(CMD_FLUSH, 0, 2, 0, 0),
    requestBytes(CMD_READ, 0, 3, 128 * MIB, 64 * 1024),
  ]);
}

/** Where a session is cut: each byte of its small parts, and some inside the payload. */
function cutAt(random: SeededRandom, index: number, sessionBytes: number): number {
  return index < 80 ? index : random.below(sessionBytes);
}

/** Open sockets only: the server opens files of its own when it first works. */
function openSockets(server: DroverServer): number {
  const folder = `/proc/${server.program.pid}/fd`;
  const targets = readdirSync(folder).map((name) => {
    try {
      return readlinkSync(join(folder, name));
    } catch {
      return ''; // closed between the two calls
    }
  });
  return targets.filter((target) => target.startsWith('socket:')).length;
}

test.serial('garbage closes its own connection and nobody else notices', async (t) => {
  const server = await serve(t);
  const random = randomForTest(t);
  const sockets = openSockets(server);
  const oneClient = async (): Promise<void> => {
    const socket = await badSocket(server);
    const start = random.chance(0.5) ? CLIENT_FLAGS : Buffer.alloc(0);
    const closed = closeOf(socket);
    socket.resume();
    socket.end(Buffer.concat([start, random.bytes(random.between(1, 200_000))]));
    await closed;
  };
  const all = Array.from({ length: 100 }, () => oneClient());
  await servedMeanwhile(t, server, Promise.all(all));
  await eventually('sockets are closed', 5_000, () => openSockets(server) <= sockets);
});

test.serial('garbage in place of requests closes its own connection', async (t) => {
  const server = await serve(t);
  const random = randomForTest(t);
  const oneClient = async (): Promise<void> => {
    const socket = await blindlyAttached(server);
    const closed = closeOf(socket);
    socket.resume();
    socket.write(random.bytes(random.between(28, 100_000)));
    await closed;
  };
  const all = Array.from({ length: 50 }, () => oneClient());
  await servedMeanwhile(t, server, Promise.all(all));
});

test.serial('a client may vanish at any byte', async (t) => {
  const server = await serve(t);
  const random = randomForTest(t);
  const session = wholeSession();
  const sockets = openSockets(server);
  const vanish = async (): Promise<void> => {
    for (let index = 0; index < 300; index++) {
      const socket = await badSocket(server);
      const bytes = session.subarray(0, cutAt(random, index, session.length));
      await new Promise((resolve) => {
        socket.write(bytes, resolve);
      });
      if (random.chance(0.5)) socket.resetAndDestroy();
      else socket.destroy();
    }
  };
  await servedMeanwhile(t, server, vanish());
  await eventually('sockets are closed', 5_000, () => openSockets(server) <= sockets);
});

test.serial('half a handshake is given up after its time limit', async (t) => {
  const server = await serve(t);
  const halves = [Buffer.alloc(0), CLIENT_FLAGS.subarray(0, 2), CLIENT_FLAGS];
  const go = optionBytes(OPT_GO, goData('disk0'));
  halves.push(Buffer.concat([CLIENT_FLAGS, go.subarray(0, 15)]));
  halves.push(Buffer.concat([CLIENT_FLAGS, go.subarray(0, 20)]));
  const startMs = performance.now();
  const waiting = Array.from({ length: 100 }, async (_, index) => {
    const socket = await badSocket(server);
    socket.resume();
    const closed = closeOf(socket);
    socket.write(halves[index % halves.length]!);
    await closed;
  });
  await servedMeanwhile(t, server, Promise.all(waiting));
  const tookMs = performance.now() - startMs;
  t.true(tookMs > 5_000 && tookMs < 20_000, `handshakes were given up after ${tookMs} ms`);
});

test.serial('clients that never read their replies hold a bounded amount of memory', async (t) => {
  const server = await serve(t);
  const clients = 4;
  const before = residentBytes(server.program.pid);
  const request = requestBytes(CMD_READ, 0, 7, 0, MIB);
  const manyReads = Buffer.concat(Array.from({ length: 1000 }, () => request));
  const sockets: Socket[] = [];
  const flood = async (): Promise<void> => {
    for (let index = 0; index < clients; index++) {
      const socket = await blindlyAttached(server);
      socket.pause();
      sockets.push(socket);
      for (let round = 0; round < 20; round++) socket.write(manyReads);
    }
    await sleep(3_000);
  };
  await servedMeanwhile(t, server, flood());
  const grownBytes = residentBytesPeak(server.program.pid) - before;
  t.log(`${Math.round(grownBytes / MIB)} MiB grown for ${clients} clients`);
  t.true(grownBytes < (CACHE_MIB + clients * 100) * MIB, `${grownBytes} bytes more`);
  for (const socket of sockets) socket.destroy();
  await eventually('the server goes on', 10_000, async () => {
    const client = await NbdClient.attach(server.unixAddress, 'disk0');
    await client.disconnect();
    return true;
  });
});

test.serial('a payload announced and never sent holds nothing', async (t) => {
  const server = await serve(t);
  const before = residentBytes(server.program.pid);
  const sockets: Socket[] = [];
  const announce = async (): Promise<void> => {
    for (let index = 0; index < 40; index++) {
      const socket = await blindlyAttached(server);
      const lengthBytes = index % 2 === 0 ? 32 * MIB : 0xffff_ffff;
      socket.write(requestBytes(CMD_WRITE, 0, 1, 0, lengthBytes));
      sockets.push(socket);
    }
    await sleep(1_000);
  };
  await servedMeanwhile(t, server, announce());
  const grownBytes = residentBytes(server.program.pid) - before;
  t.log(`${Math.round(grownBytes / MIB)} MiB grown`);
  t.true(grownBytes < 256 * MIB, `${grownBytes} bytes more for nothing`);
  for (const socket of sockets) socket.destroy();
});

test.serial('200 connections at once are served and cost nothing once they are gone', async (t) => {
  const server = await serve(t);
  const sockets = openSockets(server);
  const oneClient = async (index: number): Promise<void> => {
    const address = index % 2 === 0 ? server.tcpAddress : server.unixAddress;
    const client = await NbdClient.attach(address, 'disk0', { structured: index % 3 === 0 });
    const block = 2048 + index;
    await client.write(block * BLOCK_BYTES, stampedBytes(block, 1, index + 1));
    await client.flush();
    await sleep(500);
    t.is(stampOf(block, await client.read(block * BLOCK_BYTES, BLOCK_BYTES)), index + 1);
    await client.disconnect();
  };
  const all = Array.from({ length: 200 }, (_, index) => oneClient(index));
  await servedMeanwhile(t, server, Promise.all(all));
  const peakMiB = residentBytesPeak(server.program.pid) / MIB;
  t.log(`peak ${Math.round(peakMiB)} MiB with a cache of ${CACHE_MIB} MiB`);
  t.true(peakMiB < CACHE_MIB + 512, `${peakMiB} MiB for 200 small connections`);
  await eventually('sockets are closed', 5_000, () => openSockets(server) <= sockets);
});
