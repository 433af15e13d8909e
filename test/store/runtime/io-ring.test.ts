import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { alignedBuffer } from '../../../store/runtime/aligned-buffer.ts';
import { IoRing, NOT_DONE } from '../../../store/runtime/io-ring.ts';
import { type Libc, libc as systemLibc } from '../../../store/runtime/libc.ts';
import { createRealDisk } from '../../../store/runtime/real-disk.ts';
import { run } from '../../support/child-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';

const PAGE = 4096;
const libc = systemLibc!;

async function directFile(
  t: ExecutionContext,
  flags: number = constants.O_RDWR | constants.O_CREAT,
): Promise<{ handle: FileHandle; path: string }> {
  const path = join(await temporaryFolder(t), 'file');
  if ((flags & constants.O_CREAT) === 0) await (await open(path, 'w')).close();
  const handle = await open(path, flags | constants.O_DSYNC | constants.O_DIRECT);
  t.teardown(() => handle.close());
  return { handle, path };
}

async function opened(t: ExecutionContext, path: string): Promise<FileHandle> {
  const handle = await open(path, 'r');
  t.teardown(() => handle.close());
  return handle;
}

function page(fill: number): Buffer {
  return alignedBuffer(PAGE).fill(fill);
}

test('the system that the tests run on has a ring', (t) => {
  t.truthy(IoRing.open(libc));
});

test('writes under way at once each come to their own place, whole', async (t) => {
  const { handle, path } = await directFile(t);
  const ring = IoRing.open(libc)!;
  const written = await Promise.all(
    Array.from({ length: 60 }, (_, at) =>
      ring.write(handle.fd, [page(at), page(100 + at)], 2 * PAGE, at * 2 * PAGE),
    ),
  );
  t.true(written.every((bytes) => bytes === 2 * PAGE));
  const expected = Array.from({ length: 60 }, (_, at) => [page(at), page(100 + at)]);
  t.true((await readFile(path)).equals(Buffer.concat(expected.flat())));
});

test('positions beyond 4 GiB are written to', async (t) => {
  const { handle } = await directFile(t);
  const position = 5 * 2 ** 32 + 8 * PAGE;
  const ring = IoRing.open(libc)!;
  t.is(await ring.write(handle.fd, [page(7)], PAGE, position), PAGE);
  const { buffer } = await handle.read(alignedBuffer(PAGE), 0, PAGE, position);
  t.true(buffer.equals(page(7)));
});

test('reads under way at once each bring their own bytes, cached or not', async (t) => {
  const { handle, path } = await directFile(t);
  const ring = IoRing.open(libc)!;
  for (let at = 0; at < 32; at += 1) await ring.write(handle.fd, [page(at)], PAGE, at * PAGE);
  const reading = await opened(t, path);
  for (const cached of ['from the disk', 'from memory']) {
    const buffers = Array.from({ length: 32 }, () => [Buffer.alloc(100), Buffer.alloc(PAGE - 100)]);
    const bytes = await Promise.all(
      buffers.map((pair, at) => ring.read(reading.fd, pair, PAGE, at * PAGE)),
    );
    t.deepEqual(new Set(bytes), new Set([PAGE]), cached);
    t.true(
      buffers.every((pair, at) => Buffer.concat(pair).equals(page(at))),
      cached,
    );
  }
});

test('a read ends where the file does', async (t) => {
  const { handle, path } = await directFile(t);
  const ring = IoRing.open(libc)!;
  await ring.write(handle.fd, [page(1)], PAGE, 0);
  const reading = await opened(t, path);
  t.is(await ring.read(reading.fd, [Buffer.alloc(2 * PAGE)], 2 * PAGE, 0), PAGE);
  t.is(await ring.read(reading.fd, [Buffer.alloc(PAGE)], PAGE, PAGE), 0);
});

test('reads leave room to writes', async (t) => {
  const { handle, path } = await directFile(t);
  const ring = IoRing.open(libc)!;
  await ring.write(handle.fd, [page(1)], PAGE, 0);
  const reading = await opened(t, path);
  const reads = Array.from({ length: 100 }, () =>
    ring.read(reading.fd, [Buffer.alloc(PAGE)], PAGE, 0),
  );
  t.is(reads.filter((read) => read !== undefined).length, 32);
  t.is(await ring.write(handle.fd, [page(2)], PAGE, 0), PAGE);
  await Promise.all(reads);
});

test('a read that the kernel refuses rejects with its reason', async (t) => {
  const { handle } = await directFile(t, constants.O_WRONLY);
  const ring = IoRing.open(libc)!;
  await t.throwsAsync(ring.read(handle.fd, [Buffer.alloc(PAGE)], PAGE, 0)!, { code: 'EBADF' });
});

test('what is too much for the ring is left to others', async (t) => {
  const { handle } = await directFile(t);
  const ring = IoRing.open(libc)!;
  t.is(ring.write(handle.fd, [alignedBuffer(1 << 20)], 1 << 20, 0), undefined);
  const tooMany = Array.from({ length: 300 }, () => page(1));
  t.is(ring.write(handle.fd, tooMany, PAGE, 0), undefined);
  const writes = Array.from({ length: 100 }, (_, at) =>
    ring.write(handle.fd, [page(1)], PAGE, at * PAGE),
  );
  t.is(writes.filter((write) => write === undefined).length, 36);
  await Promise.all(writes);
  // What has ended makes room again.
  t.is(await ring.write(handle.fd, [page(2)], PAGE, 0), PAGE);
});

test('a write that the kernel refuses rejects with its reason', async (t) => {
  const { handle } = await directFile(t, constants.O_RDONLY);
  const ring = IoRing.open(libc)!;
  await t.throwsAsync(ring.write(handle.fd, [page(1)], PAGE, 0)!, { code: 'EBADF' });
  const { handle: writable } = await directFile(t);
  t.is(await ring.write(writable.fd, [page(1)], PAGE, 0), PAGE);
});

test('what the kernel does not take is told, and the ring goes on', async (t) => {
  let isTaking = false;
  const unwilling: Libc = {
    ...libc,
    ringEnter: (fd, count) => (isTaking ? libc.ringEnter(fd, count) : -1),
  };
  const { handle, path } = await directFile(t);
  const ring = IoRing.open(unwilling)!;
  const refused = [1, 2, 3].map((fill) => ring.write(handle.fd, [page(fill)], PAGE, 0));
  t.deepEqual(await Promise.all(refused), [NOT_DONE, NOT_DONE, NOT_DONE]);
  t.is((await readFile(path)).length, 0);
  isTaking = true;
  t.is(await ring.write(handle.fd, [page(4)], PAGE, 0), PAGE);
  t.true((await readFile(path)).equals(page(4)));
});

test('the end of a write is told, not found by looking now and then', async (t) => {
  const { handle } = await directFile(t);
  const ring = IoRing.open(libc)!;
  const startMs = performance.now();
  for (let i = 0; i < 100; i += 1) await ring.write(handle.fd, [page(i)], PAGE, 0);
  // Looking for it takes 100 ms each.
  t.true(performance.now() - startMs < 5000);
});

test('a write of which the kernel takes no notification ends nevertheless', async (t) => {
  let isWhole = false;
  const forgetful: Libc = {
    ...libc,
    ringEnter: (fd, count) => libc.ringEnter(fd, isWhole ? count : count - 1),
  };
  const { handle } = await directFile(t);
  const ring = IoRing.open(forgetful)!;
  t.is(await ring.write(handle.fd, [page(1)], PAGE, 0), PAGE);
  isWhole = true;
  for (let i = 0; i < 300; i += 1) {
    t.is(await ring.write(handle.fd, [page(2)], PAGE, 0), PAGE);
  }
});

test('the process waits for a write under way, and for nothing else', async (t) => {
  const path = join(await temporaryFolder(t), 'file');
  const runtime = join(import.meta.dirname, '../../../store/runtime');
  const script = `
    const { alignedBuffer } = await import('${runtime}/aligned-buffer.ts');
    const { realDisk } = await import('${runtime}/real-disk.ts');
    const file = await realDisk.open('${path}', { create: true, durable: true });
    file.write([alignedBuffer(4096).fill(5)], 0).then(() => process.stdout.write('written'));
  `;
  const args = ['--input-type=module', '--eval', script];
  t.is(await run(60_000, process.execPath, args), 'written');
  t.true((await readFile(path)).equals(page(5)));
});

for (const [name, libcOfDisk] of Object.entries({
  'without a ring': { ...libc, ringSetup: () => -1 },
  'with a ring that takes nothing': { ...libc, ringEnter: () => -1 },
  'without reads from the page cache': { ...libc, preadv2: () => -1 },
  'without system calls of its own': undefined,
})) {
  test(`a disk ${name} reads what it wrote`, async (t) => {
    const path = join(await temporaryFolder(t), 'file');
    const file = await createRealDisk(libcOfDisk).open(path, { create: true, durable: true });
    await file.write([page(1), page(2)], 0);
    await file.write([page(3)], PAGE);
    const read = Buffer.alloc(2 * PAGE);
    t.is(await file.read([read], 0), 2 * PAGE);
    t.true(read.equals(Buffer.concat([page(1), page(3)])));
    await file.close();
  });
}
