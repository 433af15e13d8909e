/**
 * Finds sequential reading of a volume and fetches ahead of it.
 *
 * Owns: a few streams, each a place where the next read is expected. Does not own: the fetches.
 * Invariants: a stream fetches nothing before a read came exactly where it was expected; what it
 * is ahead grows with every step, up to a maximum; random reads leave the streams alone, for only a
 * read that had to wait makes a new one.
 */
import { BLOCK_BYTES } from '../../store/geometry.ts';
import type { CacheStats } from './cache-stats.ts';
import type { CacheLimits } from './limits.ts';

const STREAMS_MAX = 4;

interface Stream {
  /** Where the next read is expected. */
  nextOffset: number;
  /** 0 until a second read confirmed it. */
  windowBytes: number;
  /** Fetched, or on its way, up to here. */
  aheadEnd: number;
  /** Fetched ahead and not read yet. */
  unusedBlocks: number;
  lastUse: number;
}

export class ReadAhead {
  readonly #limits: CacheLimits;
  readonly #stats: CacheStats;
  /** Starts to fetch up to `end`; how far it got, and the blocks that are on their way. */
  readonly #fetch: (offset: number, end: number) => { reached: number; blocks: number };
  readonly #streams: Stream[] = [];
  #uses = 0;

  constructor(
    limits: CacheLimits,
    stats: CacheStats,
    fetch: (offset: number, end: number) => { reached: number; blocks: number },
  ) {
    this.#limits = limits;
    this.#stats = stats;
    this.#fetch = fetch;
  }

  /** Hot path. Call for every read; true if it belongs to a stream. */
  advance(offset: number, bytes: number): boolean {
    for (let i = 0; i < this.#streams.length; i += 1) {
      const stream = this.#streams[i]!;
      // Reads of several connections overtake one another a little.
      const slack = stream.windowBytes;
      if (offset < stream.nextOffset - slack || offset > stream.nextOffset + slack) continue;
      this.#step(stream, offset + bytes);
      return true;
    }
    return false;
  }

  /** Call for a read that had to wait, after it has started its own fetches. */
  missed(offset: number, bytes: number): void {
    if (this.advance(offset, bytes)) return;
    let stream: Stream;
    if (this.#streams.length < STREAMS_MAX) {
      stream = { nextOffset: 0, windowBytes: 0, aheadEnd: 0, unusedBlocks: 0, lastUse: 0 };
      this.#streams.push(stream);
    } else {
      stream = this.#streams.reduce((oldest, other) =>
        other.lastUse < oldest.lastUse ? other : oldest,
      );
    }
    this.#uses += 1;
    stream.nextOffset = offset + bytes;
    stream.windowBytes = 0;
    stream.aheadEnd = 0;
    stream.unusedBlocks = 0;
    stream.lastUse = this.#uses;
  }

  /** Hot path, except where it fetches: once in half a window. */
  #step(stream: Stream, end: number): void {
    if (end <= stream.nextOffset) return;
    const used = Math.min(stream.unusedBlocks, Math.ceil((end - stream.nextOffset) / BLOCK_BYTES));
    stream.unusedBlocks -= used;
    this.#stats.readAheadUsedBlocks += used;
    this.#uses += 1;
    stream.lastUse = this.#uses;
    stream.nextOffset = end;
    if (end + stream.windowBytes / 2 < stream.aheadEnd) return;
    const { readAheadBytesMin, readAheadBytesMax } = this.#limits;
    const wider = Math.max(stream.windowBytes * 2, readAheadBytesMin);
    stream.windowBytes = Math.min(wider, readAheadBytesMax);
    const from = Math.max(end, stream.aheadEnd);
    const { reached, blocks } = this.#fetch(from, end + stream.windowBytes);
    stream.aheadEnd = reached;
    stream.unusedBlocks += blocks;
  }
}
