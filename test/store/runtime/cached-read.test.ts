import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { alignedBuffer } from '../../../store/runtime/aligned-buffer.ts';
import { readCached } from '../../../store/runtime/cached-read.ts';
import { libc as systemLibc } from '../../../store/runtime/libc.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';

const PAGE = 4096;
const FILE_PAGES = 40;
const libc = systemLibc!;

/** A file whose page `n` is full of `n`, none of which is in the page cache. */
async function uncachedFile(t: ExecutionContext): Promise<{ path: string; handle: FileHandle }> {
  const path = join(await temporaryFolder(t), 'file');
  const writing = await open(
    path,
    constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC | constants.O_DIRECT,
  );
  const pages = alignedBuffer(FILE_PAGES * PAGE);
  for (let at = 0; at < FILE_PAGES; at += 1) pages.fill(at, at * PAGE, (at + 1) * PAGE);
  await writing.write(pages, 0, pages.length, 0);
  await writing.close();
  const handle = await open(path, 'r');
  t.teardown(() => handle.close());
  return { path, handle };
}

test('what the page cache holds is read, into as many buffers as there are', async (t) => {
  const { path, handle } = await uncachedFile(t);
  await readFile(path);
  const buffers = [Buffer.alloc(PAGE), Buffer.alloc(100), Buffer.alloc(2 * PAGE - 100)];
  t.is(readCached(libc, handle.fd, buffers, 3 * PAGE), 3 * PAGE);
  const expected = [3, 4, 5].map((fill) => Buffer.alloc(PAGE, fill));
  t.true(Buffer.concat(buffers).equals(Buffer.concat(expected)));
});

test('what the page cache does not hold is not waited for', async (t) => {
  const { handle } = await uncachedFile(t);
  const buffer = Buffer.alloc(PAGE);
  t.is(readCached(libc, handle.fd, [buffer], 5 * PAGE), 0);
  t.true(buffer.equals(Buffer.alloc(PAGE)));
});

test('more buffers than fit one call are filled as far as they fit', async (t) => {
  const { path, handle } = await uncachedFile(t);
  await readFile(path);
  const buffers = Array.from({ length: 20 }, () => Buffer.alloc(PAGE, 255));
  const bytes = readCached(libc, handle.fd, buffers, 0);
  t.true(bytes > 0 && bytes < 20 * PAGE);
  buffers.forEach((buffer, at) => {
    t.true(buffer.equals(Buffer.alloc(PAGE, at * PAGE < bytes ? at : 255)), `buffer ${at}`);
  });
});

test('behind the end of the file nothing is read, and an error is none of its business', async (t) => {
  const { path, handle } = await uncachedFile(t);
  await readFile(path);
  t.is(readCached(libc, handle.fd, [Buffer.alloc(PAGE)], FILE_PAGES * PAGE), 0);
  t.is(readCached(libc, handle.fd, [Buffer.alloc(2 * PAGE)], (FILE_PAGES - 1) * PAGE), PAGE);
  t.is(readCached(libc, -1, [Buffer.alloc(PAGE)], 0), 0);
});

test('a file of which a part is in the page cache is read whole', async (t) => {
  const { path, handle } = await uncachedFile(t);
  // Brings the middle into the page cache, and what the kernel reads ahead.
  await handle.read(Buffer.alloc(PAGE), 0, PAGE, 20 * PAGE);
  const file = await realDisk.open(path, { readOnly: true });
  for (const [firstPage, pages] of [
    [0, FILE_PAGES],
    [18, 4],
    [5, 16],
    [FILE_PAGES - 3, 10],
  ] as const) {
    const buffers = Array.from({ length: pages }, () => Buffer.alloc(PAGE, 255));
    const there = Math.min(pages, FILE_PAGES - firstPage);
    t.is(await file.read(buffers, firstPage * PAGE), there * PAGE);
    buffers.forEach((buffer, at) => {
      t.true(buffer.equals(Buffer.alloc(PAGE, at < there ? firstPage + at : 255)));
    });
  }
  await file.close();
});
