/**
 * What the cache costs by itself, over a store that answers at once: `node
 * test/server/cache/benchmark.ts`. Prints a line for each case.
 */

import { ObjectCache } from '../../../server/cache/object-cache.ts';
import { AttachedVolume } from '../../../server/volume/attached-volume.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import type { ObjectStore } from '../../../store/replication/object-store.ts';
import { systemClock } from '../../../store/runtime/clock.ts';

const MIB = 1024 * 1024;
const OBJECT_BYTES = 4 * MIB;
const VOLUME_BYTES = 1024 * MIB;

const instant = Promise.resolve();
let isStored = false;
const store: ObjectStore = {
  objectBytes: OBJECT_BYTES,
  exists: () => isStored,
  read: async (_index, _start, into) => {
    let blocks = 0;
    for (const buffer of into) blocks += buffer.length / BLOCK_BYTES;
    return new Uint8Array(blocks).fill(2);
  },
  map: async () => new Uint8Array(OBJECT_BYTES / BLOCK_BYTES).fill(2),
  write: () => instant,
};

function open(cacheBytes: number): AttachedVolume {
  const cache = new ObjectCache({ cacheBytes, clock: systemClock });
  const options = { name: 'disk', sizeBytes: VOLUME_BYTES, objectStore: store };
  return new AttachedVolume({ ...options, cache, clock: systemClock });
}

function report(name: string, count: number, startMs: number, bytes: number): void {
  const ms = performance.now() - startMs;
  const each = ((ms * 1000) / count).toFixed(2);
  const rate = ((count * bytes) / MIB / (ms / 1000)).toFixed(0);
  console.log(`${name}: ${each} us each, ${Math.round(count / (ms / 1000))}/s, ${rate} MiB/s`);
}

/** Offsets within the first `rangeBytes`, in an order that looks random and costs nothing. */
function scattered(i: number, rangeBytes: number, bytes: number): number {
  return ((i * 7919) % (rangeBytes / bytes)) * bytes;
}

function residentCases(): void {
  const volume = open(512 * MIB);
  const buffer = Buffer.alloc(MIB, 1);
  for (const bytes of [BLOCK_BYTES, 32 * BLOCK_BYTES]) {
    for (const range of [4 * MIB, 64 * MIB]) {
      const count = Math.floor((2048 * MIB) / bytes / (bytes > BLOCK_BYTES ? 1 : 4));
      for (const isWarm of [false, true]) {
        const startMs = performance.now();
        for (let i = 0; i < count; i += 1) {
          if (!volume.tryWrite(scattered(i, range, bytes), bytes, buffer, 0))
            throw new Error('write');
        }
        if (isWarm) report(`tryWrite ${bytes} in ${range / MIB} MiB`, count, startMs, bytes);
      }
      const startMs = performance.now();
      for (let i = 0; i < count; i += 1) {
        if (!volume.tryRead(scattered(i, range, bytes), bytes, buffer, 0)) throw new Error('read');
      }
      report(`tryRead ${bytes} in ${range / MIB} MiB`, count, startMs, bytes);
    }
  }
}

async function flushCases(): Promise<void> {
  const buffer = Buffer.alloc(BLOCK_BYTES, 1);
  for (const depth of [1, 32]) {
    for (const isRange of [false, true]) {
      const volume = open(256 * MIB);
      const count = 200_000;
      let next = 0;
      const startMs = performance.now();
      const worker = async () => {
        while (next < count) {
          const at = scattered(next, 64 * MIB, BLOCK_BYTES);
          next += 1;
          if (!volume.tryWrite(at, BLOCK_BYTES, buffer, 0)) await volume.write(at, buffer);
          await (isRange ? volume.flushRange(at, BLOCK_BYTES) : volume.flush());
        }
      };
      await Promise.all(Array.from({ length: depth }, worker));
      report(`write + ${isRange ? 'FUA' : 'FLUSH'}, depth ${depth}`, count, startMs, BLOCK_BYTES);
    }
  }
}

async function coldCases(): Promise<void> {
  isStored = true;
  const block = Buffer.alloc(BLOCK_BYTES);
  const random = open(64 * MIB);
  let startMs = performance.now();
  const count = 100_000;
  for (let i = 0; i < count; i += 1) {
    const at = scattered(i, VOLUME_BYTES, BLOCK_BYTES);
    if (!random.tryRead(at, BLOCK_BYTES, block, 0)) await random.read(at, block);
  }
  report('cold read 4 KiB, random', count, startMs, BLOCK_BYTES);
  const sequential = open(64 * MIB);
  const large = Buffer.alloc(32 * BLOCK_BYTES);
  startMs = performance.now();
  for (let at = 0; at < VOLUME_BYTES; at += large.length) {
    if (!sequential.tryRead(at, large.length, large, 0)) await sequential.read(at, large);
  }
  report('cold read 128 KiB, sequential', VOLUME_BYTES / large.length, startMs, large.length);
  const overwrite = open(64 * MIB);
  startMs = performance.now();
  for (let i = 0; i < count; i += 1) {
    const at = scattered(i, VOLUME_BYTES, BLOCK_BYTES);
    if (!overwrite.tryWrite(at, BLOCK_BYTES, block, 0)) await overwrite.write(at, block);
  }
  report('write 4 KiB, random, 16 times the cache', count, startMs, BLOCK_BYTES);
}

residentCases();
await flushCases();
await coldCases();
