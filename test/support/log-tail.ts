/**
 * The end of a store node's log, found without knowing its format: what changed in the segment
 * files since a moment at which everything was flushed is later than everything acknowledged.
 *
 * Owns: the damage that a test does there. Refuses (answers `false`) when more happened since then
 * than appends: a checkpoint or a cleaned segment makes what follows part of what must not be lost.
 */
import { createHash } from 'node:crypto';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { SeededRandom } from './seeded-random.ts';

const SEGMENT_HEADER_BYTES = 4096;
/** How much garbage a torn write leaves at most. */
const GARBAGE_BYTES_MAX = 8 * 1024 * 1024;

export type Damage = 'cut' | 'garbage' | 'zeros';

async function filesBelow(directory: string, extension: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true });
  return entries
    .filter((name) => name.endsWith(extension))
    .map((name) => join(directory, name))
    .sort();
}

/** Tells whether a checkpoint was written in between. */
async function indexDigest(dataDirectory: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of await filesBelow(dataDirectory, 'data.mdb')) {
    if (!file.includes('index')) continue;
    // LMDB's two meta pages change with every transaction.
    hash.update((await readFile(file)).subarray(0, 2 * 4096));
  }
  return hash.digest('hex');
}

/** Where the last byte that is not zero lies, plus one. */
function endOfData(content: Buffer): number {
  let end = content.length;
  while (end >= 4096 && content.subarray(end - 4096, end).equals(Buffer.alloc(4096))) end -= 4096;
  while (end > 0 && content[end - 1] === 0) end -= 1;
  return end;
}

function firstDifference(before: Buffer, after: Buffer): number {
  const length = Math.min(before.length, after.length);
  let at = 0;
  while (at + 4096 <= length && before.compare(after, at, at + 4096, at, at + 4096) === 0) {
    at += 4096;
  }
  while (at < length && before[at] === after[at]) at += 1;
  return at;
}

interface Segment {
  readonly content: Buffer;
  readonly changedAtNs: bigint;
}

async function changedAtNs(file: string): Promise<bigint> {
  return (await stat(file, { bigint: true })).mtimeNs;
}

export class LogTail {
  readonly #dataDirectory: string;
  readonly #segments: ReadonlyMap<string, Segment>;
  readonly #index: string;

  /** To be taken when everything is flushed and nothing is being written. */
  static async snapshot(dataDirectory: string): Promise<LogTail> {
    const segments = new Map<string, Segment>();
    for (const file of await filesBelow(dataDirectory, '.seg')) {
      const seenAtNs = await changedAtNs(file);
      segments.set(file, { content: await readFile(file), changedAtNs: seenAtNs });
    }
    if (segments.size === 0) throw new Error(`no segment below ${dataDirectory}`);
    return new LogTail(dataDirectory, segments, await indexDigest(dataDirectory));
  }

  private constructor(
    dataDirectory: string,
    segments: ReadonlyMap<string, Segment>,
    index: string,
  ) {
    this.#dataDirectory = dataDirectory;
    this.#segments = segments;
    this.#index = index;
  }

  /** Damages the newest segment somewhere behind the snapshot; false if that cannot be done. */
  async damage(kind: Damage, random: SeededRandom): Promise<boolean> {
    const files = await filesBelow(this.#dataDirectory, '.seg');
    if ([...this.#segments.keys()].some((file) => !files.includes(file))) return false;
    if ((await indexDigest(this.#dataDirectory)) !== this.#index) return false;
    let newest: { file: string; from: number; end: number } | undefined;
    for (const file of files) {
      const before = this.#segments.get(file);
      if (before !== undefined && before.changedAtNs === (await changedAtNs(file))) continue;
      const content = await readFile(file);
      const from =
        before === undefined ? SEGMENT_HEADER_BYTES : firstDifference(before.content, content);
      const end = endOfData(content);
      // Names grow with the log, so the last that changed is the newest.
      if (from < end) newest = { file, from, end };
    }
    if (newest === undefined) return false;
    const at = newest.from + random.below(newest.end - newest.from);
    await applyDamage(kind, newest.file, at, newest.end, random);
    return true;
  }
}

async function applyDamage(
  kind: Damage,
  path: string,
  at: number,
  end: number,
  random: SeededRandom,
): Promise<void> {
  const size = (await stat(path)).size;
  const file = await open(path, 'r+');
  try {
    if (kind === 'cut') {
      await file.truncate(at);
    } else if (kind === 'zeros') {
      await file.write(Buffer.alloc(end - at), 0, end - at, at);
    } else {
      // Garbage reaches past the end of the log, but a file's end stays where it is.
      const bytes = random.bytes(Math.min(GARBAGE_BYTES_MAX, size - at));
      if (at + bytes.length < end) await file.write(Buffer.alloc(end - at), 0, end - at, at);
      await file.write(bytes, 0, bytes.length, at);
    }
  } finally {
    await file.close();
  }
}
