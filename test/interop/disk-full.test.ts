/**
 * A data directory on a filesystem that fills up.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { DroverServer } from '../support/drover-server.ts';
import { smallFilesystem } from '../support/loop-device.ts';
import { ERROR_ENOSPC, NbdClient, NbdReplyError } from '../support/nbd-client.ts';
import { stampedBytes, stampOf } from '../support/stamped-disk-model.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { withinTime } from '../support/time-limit.ts';

const MIB = 1024 * 1024;
const BLOCK_BYTES = 4096;
const BLOCKS_PER_PIECE = MIB / BLOCK_BYTES;
const FILESYSTEM_MIB = 1024;
const PIECES_PER_FLUSH = 16;
const ANSWER_LIMIT_MS = 30_000;
const CLEANING_LIMIT_MS = 90_000;

/** One attached disk, seen in pieces of 1 MiB; the stamp of a piece tells which write it was. */
class Pieces {
  readonly #client: NbdClient;

  constructor(client: NbdClient) {
    this.#client = client;
  }

  async write(piece: number, stamp: number): Promise<void> {
    const bytes = stampedBytes(piece * BLOCKS_PER_PIECE, BLOCKS_PER_PIECE, stamp);
    const answer = this.#client.write(piece * MIB, bytes);
    await withinTime(`answer to a write of piece ${piece}`, ANSWER_LIMIT_MS, answer);
  }

  async flush(): Promise<void> {
    await withinTime('answer to a flush', ANSWER_LIMIT_MS, this.#client.flush());
  }

  async trim(piece: number, count: number): Promise<void> {
    const answer = this.#client.trim(piece * MIB, count * MIB);
    await withinTime('answer to a trim', ANSWER_LIMIT_MS, answer);
  }

  /** The stamp of the piece's first and last block, which must be equal. */
  async stampOf(piece: number): Promise<number> {
    const read = this.#client.read(piece * MIB, MIB);
    const bytes = await withinTime(`answer to a read of piece ${piece}`, ANSWER_LIMIT_MS, read);
    const firstBlock = piece * BLOCKS_PER_PIECE;
    const stamp = stampOf(firstBlock, bytes.subarray(0, BLOCK_BYTES));
    const lastStamp = stampOf(firstBlock + BLOCKS_PER_PIECE - 1, bytes.subarray(-BLOCK_BYTES));
    if (stamp !== lastStamp) throw new Error(`piece ${piece}: ${stamp} and ${lastStamp}`);
    return stamp;
  }
}

function isNoSpace(error: unknown): boolean {
  return error instanceof NbdReplyError && error.code === ERROR_ENOSPC;
}

/** Writes pieces upwards until the disk is full; returns how many are flushed. */
async function fillUp(pieces: Pieces): Promise<number> {
  let flushedPieces = 0;
  try {
    for (let piece = 0; piece < 2 * FILESYSTEM_MIB; piece++) {
      await pieces.write(piece, 1);
      if ((piece + 1) % PIECES_PER_FLUSH === 0) {
        await pieces.flush();
        flushedPieces = piece + 1;
      }
    }
  } catch (error) {
    if (isNoSpace(error)) return flushedPieces;
    throw error;
  }
  throw new Error('twice the size of the filesystem fits in: nothing was written');
}

/** Writes pieces upwards and never flushes until a write is refused; returns how many were not. */
async function fillUnflushed(pieces: Pieces, firstPiece: number): Promise<number> {
  for (let piece = firstPiece; piece < firstPiece + 2 * FILESYSTEM_MIB; piece++) {
    try {
      await pieces.write(piece, 3);
    } catch (error) {
      if (isNoSpace(error)) return piece - firstPiece;
      throw error;
    }
  }
  throw new Error('twice the size of the filesystem fits in: nothing was written');
}

/** Flushes again and again while cleaning makes room; any error but ENOSPC is thrown. */
async function flushWhenThereIsRoom(pieces: Pieces): Promise<void> {
  const endMs = performance.now() + CLEANING_LIMIT_MS;
  for (;;) {
    try {
      await pieces.flush();
      return;
    } catch (error) {
      if (!isNoSpace(error) || performance.now() > endMs) throw error;
      await sleep(200);
    }
  }
}

test('a full disk answers ENOSPC, reads and trims go on, and after a trim writes go on', async (t) => {
  t.timeout(280_000);
  const folder = await temporaryFolder(t);
  const image = join(folder, 'image');
  const small = await smallFilesystem(t, image, join(folder, 'm'), FILESYSTEM_MIB * MIB);
  const options = {
    dataDirectory: join(small.folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=8G'],
    cache: '64M',
  };
  const server = await DroverServer.start(t, options);
  const pieces = new Pieces(await NbdClient.attach(server.unixAddress, 'disk0'));

  const flushed = await fillUp(pieces);
  t.log(`${flushed} MiB were flushed on a filesystem of ${FILESYSTEM_MIB} MiB`);
  t.true(flushed > FILESYSTEM_MIB / 4, 'the disk called itself full much too early');
  for (let piece = 0; piece < flushed; piece += 7) t.is(await pieces.stampOf(piece), 1);

  const trimmed = Math.floor(flushed / 2);
  await pieces.trim(0, trimmed);
  t.is(await pieces.stampOf(0), 0);
  await flushWhenThereIsRoom(pieces);
  const rewritten = Math.floor(trimmed / 4);
  for (let piece = 0; piece < rewritten; piece++) {
    await pieces.write(piece, 2);
    if (piece % PIECES_PER_FLUSH === 0) await flushWhenThereIsRoom(pieces);
  }
  await flushWhenThereIsRoom(pieces);

  // A client that never flushes is told, too, and what it wrote can be taken back.
  const unflushed = await fillUnflushed(pieces, 2 * FILESYSTEM_MIB);
  await pieces.trim(2 * FILESYSTEM_MIB, unflushed + 1);
  await flushWhenThereIsRoom(pieces);
  await server.kill();

  const again = await DroverServer.start(t, options);
  const after = new Pieces(await NbdClient.attach(again.unixAddress, 'disk0'));
  for (let piece = 0; piece < flushed; piece++) {
    const expected = piece < rewritten ? 2 : piece < trimmed ? 0 : 1;
    if ((await after.stampOf(piece)) !== expected) t.fail(`piece ${piece} is not ${expected}`);
  }
  await again.stop();
});
