import test from 'ava';
import { defaultLimits } from '../../../server/cache/limits.ts';
import { AttachedVolume } from '../../../server/volume/attached-volume.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { MemoryObjectStore } from './memory-object-store.ts';
import { block, VolumeFixture } from './volume-fixture.ts';

const SLOTS = 100;

/** A hundred slots: the drainer starts at 40, writers are slowed at 50 and wait at 70. */
function smallCache(): VolumeFixture {
  const fixture = new VolumeFixture({ slots: SLOTS, objects: 64 });
  fixture.store.isHolding = true;
  return fixture;
}

/** Writes blocks of different objects until one has to wait; how many did not. */
function writeUntilRefused(fixture: VolumeFixture): number {
  for (let i = 0; ; i += 1) if (!fixture.tryWriteBlock(i * 16, 1)) return i;
}

test('the drainer starts at its mark and sends the oldest first', async (t) => {
  const fixture = smallCache();
  for (let i = 0; i < 40; i += 1) fixture.tryWriteBlock(((i * 7) % 64) * 64, 1);
  await fixture.clock.turns();
  t.is(fixture.store.writes.length, 0);
  for (let i = 40; i < 43; i += 1) fixture.tryWriteBlock(((i * 7) % 64) * 64, 1);
  await fixture.clock.turns();
  t.deepEqual(
    fixture.store.writes.map((write) => write.objectIndex),
    [0, 7, 14],
  );
});

test('a block is sent at its age without any pressure', async (t) => {
  const fixture = smallCache();
  fixture.tryWriteBlock(0, 1);
  await fixture.clock.advance(9_000);
  t.is(fixture.store.writes.length, 0);
  t.is(fixture.volume.oldestDirtyMs(), 9_000);
  await fixture.clock.advance(1_000);
  t.is(fixture.store.writes.length, 1);
});

test('the oldest object is sent first whatever its volume', async (t) => {
  const fixture = new VolumeFixture({ slots: SLOTS });
  fixture.store.isHolding = true;
  const store = new MemoryObjectStore(fixture.store.objectBytes);
  const { cache, clock } = fixture;
  const other = new AttachedVolume({
    name: 'other',
    sizeBytes: store.objectBytes,
    objectStore: store,
    cache,
    clock,
  });
  fixture.tryWriteBlock(0, 1);
  await clock.advance(1_000);
  other.tryWrite(0, BLOCK_BYTES, block(2), 0);
  await clock.advance(9_500);
  t.deepEqual([fixture.store.writes.length, store.writes.length], [1, 0]);
  await clock.advance(1_000);
  t.is(store.writes.length, 1);
  t.true(store.block(0, 0).equals(block(2)));
});

test('past the slow mark a write waits until something is durable', async (t) => {
  const fixture = smallCache();
  t.is(writeUntilRefused(fixture), 50);
  const written = fixture.track(fixture.volume.write(BLOCK_BYTES, block(2)));
  await fixture.clock.turns();
  t.is(written(), 'waiting');
  fixture.store.held[0]!.settle();
  await fixture.clock.turns();
  t.is(written(), 'done');
  t.is(fixture.cache.stats.throttledWrites, 1);
});

test('between the marks a write waits no longer than the limit, even if the store hangs', async (t) => {
  const fixture = smallCache();
  writeUntilRefused(fixture);
  const written = fixture.track(fixture.volume.write(BLOCK_BYTES, block(2)));
  await fixture.clock.advance(50);
  t.is(written(), 'waiting');
  await fixture.clock.advance(60);
  t.is(written(), 'done');
});

test('at the hard limit writes wait in their order until blocks are durable', async (t) => {
  const fixture = smallCache();
  writeUntilRefused(fixture);
  const states = Array.from({ length: 40 }, (_, i) =>
    fixture.track(fixture.volume.write((i * 16 + 1) * BLOCK_BYTES, block(3))),
  );
  const done = () => states.filter((state) => state() === 'done').length;
  for (let i = 0; i < 10; i += 1) await fixture.clock.advance(1_000);
  t.is(done(), 20);
  t.is(fixture.cache.dirtySlots, 70);
  t.true(states.slice(0, 20).every((state) => state() === 'done'));
  t.true(await fixture.runUntil(() => done() === 40));
});

/** Settles what is held as a full store would, again and again, for a minute of the clock. */
async function failForSpace(fixture: VolumeFixture): Promise<void> {
  for (let i = 0; i < 60; i += 1) {
    for (const call of fixture.store.held) call.settle(new DroverError('outOfSpace', 'full'));
    await fixture.clock.turns();
    await fixture.clock.advance(1_000);
  }
}

test('while the store is full, writes are refused that would wait for ever, and go on when there is room', async (t) => {
  const fixture = smallCache();
  const written = writeUntilRefused(fixture);
  const refused = fixture.track(fixture.volume.write(BLOCK_BYTES, block(2)));
  await fixture.clock.turns();
  t.is(refused(), 'waiting');
  await failForSpace(fixture);
  t.is(refused(), 'the cache is full of what the store cannot take');
  t.is(fixture.cache.dirtySlots, written);
  const again = fixture.track(fixture.volume.write(BLOCK_BYTES, block(3)));
  await fixture.clock.turns();
  t.is(again(), 'the cache is full of what the store cannot take');
  t.true(fixture.tryWriteBlock(0, 9), 'what is dirty already takes no more');
  const trimmed = fixture.track(fixture.volume.trim(16 * BLOCK_BYTES, BLOCK_BYTES));
  await fixture.clock.advance(1_000);
  t.is(trimmed(), 'done');
  const flushed = fixture.track(fixture.volume.flush());
  t.true(await fixture.runUntil(() => flushed() !== 'waiting'));
  const later = fixture.track(fixture.volume.write(BLOCK_BYTES, block(4)));
  t.true(await fixture.runUntil(() => later() === 'done'));
});

test('a volume whose store is full leaves room in the cache for others', async (t) => {
  const fixture = smallCache();
  writeUntilRefused(fixture);
  await failForSpace(fixture);
  const { cache, clock } = fixture;
  const store = new MemoryObjectStore(fixture.store.objectBytes);
  const objects = 8;
  const other = new AttachedVolume({
    name: 'other',
    sizeBytes: objects * store.objectBytes,
    objectStore: store,
    cache,
    clock,
  });
  for (let object = 0; object < objects; object += 1) {
    for (let i = 0; i < 10; i += 1) {
      const at = object * store.objectBytes + i * BLOCK_BYTES;
      const written = fixture.track(other.write(at, block(object + 1)));
      for (let ms = 0; ms < 20_000 && written() === 'waiting'; ms += 50) await clock.advance(50);
      t.is(written(), 'done');
    }
  }
});

test('a block that is dirty already is written however much is dirty', (t) => {
  const fixture = smallCache();
  writeUntilRefused(fixture);
  t.true(fixture.tryWriteBlock(0, 9));
});

test('eviction under load: reads go on while the cache is full of dirty and clean blocks', async (t) => {
  const fixture = smallCache();
  for (let b = 0; b < 256; b += 1) fixture.store.fill(32 + Math.floor(b / 64), b % 64, block(b));
  writeUntilRefused(fixture);
  for (let b = 0; b < 256; b += 1) {
    const reading = fixture.readBlock(32 * 64 + b);
    await fixture.clock.turns(1);
    for (const call of fixture.store.held.filter(({ kind }) => kind === 'read')) call.settle();
    t.true((await reading).equals(block(b)));
  }
  t.true(fixture.cache.stats.evictedBlocks > 200);
  t.is(fixture.cache.dirtySlots, 50);
  for (let i = 0; i < 50; i += 1) {
    t.true((await fixture.readBlock(i * 16)).equals(block(1)), `block ${i * 16} is still there`);
  }
});

test('eviction takes the object that was used least recently', async (t) => {
  const fixture = new VolumeFixture({ slots: 256, limits: { segmentBlocksMax: 64 } });
  for (let object = 0; object < 6; object += 1) {
    fixture.store.fill(object, 0, Buffer.alloc(64 * BLOCK_BYTES, object + 1));
  }
  const target = Buffer.alloc(64 * BLOCK_BYTES);
  const objectBytes = fixture.store.objectBytes;
  for (const object of [0, 1, 2, 3, 0, 4]) {
    const at = object * objectBytes;
    if (!fixture.volume.tryRead(at, target.length, target, 0))
      await fixture.volume.read(at, target);
  }
  t.true(fixture.volume.tryRead(0, target.length, target, 0));
  t.is(fixture.volume.tryRunBytes(objectBytes + target.length - 1, 1), 0);
});

test('the places for objects and pages are bounded, and writes far apart go on', async (t) => {
  const fixture = new VolumeFixture({
    slots: 64,
    objects: 1000,
    limits: { objectsMax: 8, pagesMax: 8 },
  });
  for (let object = 0; object < 1000; object += 1) {
    const at = object * fixture.store.objectBytes;
    const written = fixture.track(fixture.volume.write(at, block(object % 200)));
    t.true(await fixture.runUntil(() => written() === 'done'));
    t.true(fixture.cache.objectCount <= 8);
  }
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.runUntil(() => flushed() === 'done');
  for (let object = 0; object < 1000; object += 1) {
    t.true(fixture.store.block(object, 0).equals(block(object % 200)));
  }
});

for (const { cacheMib, objects } of [
  { cacheMib: 64, objects: 16_384 },
  { cacheMib: 1024, objects: 131_072 },
  { cacheMib: 3072, objects: 393_216 },
  { cacheMib: 4096, objects: 524_288 },
  { cacheMib: 65_536, objects: 524_288 },
]) {
  test(`a cache of ${cacheMib} MiB holds ${objects} objects, each with a page`, (t) => {
    const limits = defaultLimits(cacheMib * 2 ** 20);
    t.is(limits.objectsMax, objects);
    t.true(limits.pagesMax >= objects);
  });
}
