import { closeSync, constants, openSync, readFileSync, writevSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import {
  ALIGNMENT_BYTES,
  alignedBuffer,
  isAligned,
} from '../../../store/runtime/aligned-buffer.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';

const SIZES = [4096, 8192, 65_536, 1024 * 1024, 1024 * 1024 + 4096, 5 * 1024 * 1024];

test('buffers of every size can be written past the page cache', async (t) => {
  const path = join(await temporaryFolder(t), 'direct');
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
  const buffers = SIZES.map((bytes, at) => alignedBuffer(bytes).fill(at + 1));
  writevSync(fd, buffers, 0);
  closeSync(fd);
  t.true(readFileSync(path).equals(Buffer.concat(buffers)));
});

test('buffers do not overlap', (t) => {
  const buffers = Array.from({ length: 3000 }, (_, at) => alignedBuffer(4096).fill(at % 251));
  for (const [at, buffer] of buffers.entries()) {
    if (buffer[0] !== at % 251 || buffer[4095] !== at % 251) t.fail(`buffer ${at} was overwritten`);
  }
  t.pass();
});

test('a buffer is known for aligned only as whole pages of such memory', (t) => {
  const buffer = alignedBuffer(4 * ALIGNMENT_BYTES);
  t.true(isAligned(buffer));
  t.true(isAligned(buffer.subarray(ALIGNMENT_BYTES, 3 * ALIGNMENT_BYTES)));
  t.false(isAligned(buffer.subarray(512)));
  t.false(isAligned(buffer.subarray(0, 512)));
  t.false(isAligned(Buffer.alloc(ALIGNMENT_BYTES)));
  t.throws(() => alignedBuffer(100));
});
