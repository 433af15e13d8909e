import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { alignedBuffer } from '../../../store/runtime/aligned-buffer.ts';
import type { DiskFile } from '../../../store/runtime/disk.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';
import { run } from '../../support/child-process.ts';
import { type TestScope, temporaryFolder } from '../../support/temp-folder.ts';

const KIB = 1024;
const FILE_BYTES = 256 * KIB;

interface TestFile {
  readonly path: string;
  readonly file: DiskFile;
}

async function durableFile(t: TestScope): Promise<TestFile> {
  const path = join(await temporaryFolder(t), 'file');
  return { path, file: await realDisk.open(path, { create: true, durable: true }) };
}

/** Bytes of the file that are in the page cache. */
async function cachedBytes(path: string): Promise<number> {
  return Number(await run(10_000, 'fincore', ['--bytes', '--noheadings', '--output=RES', path]));
}

test('durable writes of aligned pages leave nothing in the page cache', async (t) => {
  const { path, file } = await durableFile(t);
  await file.write([alignedBuffer(FILE_BYTES).fill(1)], 0);
  t.is(await cachedBytes(path), 0);
  await file.close();
});

test('a mix of aligned and other writes is read as it was written', async (t) => {
  const { path, file } = await durableFile(t);
  const expected = Buffer.alloc(FILE_BYTES);
  const write = async (buffers: Buffer[], position: number): Promise<void> => {
    await file.write(buffers, position);
    Buffer.concat(buffers).copy(expected, position);
  };
  await write([alignedBuffer(FILE_BYTES).fill(1)], 0);
  // Of pages that the page cache holds, too: this brings them there.
  t.true((await readFile(path)).equals(expected));
  await write([alignedBuffer(8 * KIB).fill(2), alignedBuffer(4 * KIB).fill(3)], 16 * KIB);
  await write([Buffer.alloc(100, 4)], 20 * KIB + 50);
  await write([alignedBuffer(4 * KIB).fill(5), Buffer.alloc(4 * KIB, 6)], 64 * KIB);
  await write(
    [
      alignedBuffer(8 * KIB)
        .fill(7)
        .subarray(512, 4608),
    ],
    128 * KIB,
  );
  await write([alignedBuffer(4 * KIB).fill(8)], 200 * KIB + 512);
  await write([alignedBuffer(4 * KIB).fill(9)], 20 * KIB);
  t.true((await readFile(path)).equals(expected));
  const read = Buffer.alloc(FILE_BYTES);
  t.is(await file.read([read], 0), FILE_BYTES);
  t.true(read.equals(expected));
  await file.close();
});

test('more buffers than one system call takes are written whole', async (t) => {
  const { path, file } = await durableFile(t);
  const buffers = Array.from({ length: 2500 }, (_, at) => alignedBuffer(4 * KIB).fill(at % 251));
  await file.write(buffers, 0);
  t.true((await readFile(path)).equals(Buffer.concat(buffers)));
  await file.close();
});
