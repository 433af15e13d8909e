import test from 'ava';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { block, VolumeFixture } from '../cache/volume-fixture.ts';

const OBJECT_BYTES = 64 * BLOCK_BYTES;

test('ranges that span objects are read and written as one', async (t) => {
  const { volume } = new VolumeFixture();
  const source = Buffer.from(Array.from({ length: 9000 }, (_, i) => i % 251));
  await volume.write(OBJECT_BYTES - 5000, source);
  const target = Buffer.alloc(9000);
  t.true(volume.tryRead(OBJECT_BYTES - 5000, 9000, target, 0));
  t.true(target.equals(source));
});

test('a run ends where data and zeros meet, and goes on across objects', async (t) => {
  const { volume } = new VolumeFixture();
  await volume.write(OBJECT_BYTES - BLOCK_BYTES, Buffer.alloc(2 * BLOCK_BYTES, 1));
  const from = OBJECT_BYTES - 3 * BLOCK_BYTES;
  t.is(volume.tryRunBytes(from, 10 * BLOCK_BYTES), -2 * BLOCK_BYTES);
  t.is(volume.tryRunBytes(from + 2 * BLOCK_BYTES + 1, 10 * BLOCK_BYTES), 2 * BLOCK_BYTES - 1);
  t.is(volume.tryRunBytes(3 * OBJECT_BYTES, 4 * OBJECT_BYTES), -4 * OBJECT_BYTES);
});

test('a run ends before a block that is not resident', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.fill(0, 0, Buffer.alloc(4 * BLOCK_BYTES, 1));
  t.is(fixture.volume.tryRunBytes(0, BLOCK_BYTES), 0);
  await fixture.readBlock(0);
  t.is(fixture.volume.tryRunBytes(0, 4 * BLOCK_BYTES), BLOCK_BYTES);
});

test('a read tells its runs, merged', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.fill(0, 60, Buffer.alloc(4 * BLOCK_BYTES, 1));
  const runs = await fixture.volume.read(
    OBJECT_BYTES - 5 * BLOCK_BYTES,
    Buffer.alloc(10 * BLOCK_BYTES),
  );
  t.deepEqual(runs, [
    { lengthBytes: BLOCK_BYTES, isZero: true },
    { lengthBytes: 4 * BLOCK_BYTES, isZero: false },
    { lengthBytes: 5 * BLOCK_BYTES, isZero: true },
  ]);
});

test('allocation tells holes, zeros and data of cache and store, merged and cut off', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.fill(0, 0, Buffer.alloc(2 * BLOCK_BYTES, 1));
  fixture.tryWriteBlock(2, 1);
  await fixture.volume.writeZeroes(3 * BLOCK_BYTES, BLOCK_BYTES, false);
  const runs = await fixture.volume.allocation(10, 2 * OBJECT_BYTES, 10);
  t.deepEqual(runs, [
    { lengthBytes: 3 * BLOCK_BYTES - 10, isHole: false, isZero: false },
    { lengthBytes: BLOCK_BYTES, isHole: false, isZero: true },
    { lengthBytes: 2 * OBJECT_BYTES - 4 * BLOCK_BYTES + 10, isHole: true, isZero: true },
  ]);
  t.deepEqual(await fixture.volume.allocation(10, 2 * OBJECT_BYTES, 2), runs.slice(0, 2));
});

test('a device keeps the size and access of when it was opened', (t) => {
  const { volume } = new VolumeFixture({ sizeBytes: 10_000 });
  const before = volume.openDevice();
  volume.follow({ sizeBytes: 20_000, isReadOnly: true });
  t.like(before, { sizeBytes: 10_000, isReadOnly: false });
  t.like(volume.openDevice(), { sizeBytes: 20_000, isReadOnly: true });
});

test('the last part of a block at the end of the volume can be written, read and trimmed', async (t) => {
  const fixture = new VolumeFixture({ sizeBytes: 10_000 });
  await fixture.volume.write(9_990, Buffer.alloc(10, 7));
  const target = Buffer.alloc(10);
  await fixture.volume.read(9_990, target);
  t.true(target.equals(Buffer.alloc(10, 7)));
  await fixture.volume.trim(2 * BLOCK_BYTES, 10_000 - 2 * BLOCK_BYTES);
  await fixture.volume.read(9_990, target);
  t.true(target.equals(Buffer.alloc(10)));
});

for (const cacheMode of ['writethrough', 'none'] as const) {
  test(`cache mode ${cacheMode}: a write is answered when it is durable`, async (t) => {
    const fixture = new VolumeFixture({ cacheMode });
    fixture.store.isHolding = true;
    t.false(fixture.tryWriteBlock(0, 1));
    const written = fixture.track(fixture.volume.write(0, block(1)));
    await fixture.clock.turns();
    t.is(written(), 'waiting');
    fixture.store.settleAll();
    await fixture.clock.turns();
    t.is(written(), 'done');
    t.true(fixture.store.block(0, 0).equals(block(1)));
  });
}

test('cache mode none: neither reads nor writes stay in the cache', async (t) => {
  const fixture = new VolumeFixture({ cacheMode: 'none' });
  const written = fixture.track(fixture.volume.write(0, block(1)));
  await fixture.runUntil(() => written() === 'done');
  t.is(fixture.cache.slab.freeSlots, fixture.cache.slab.slots);
  t.true((await fixture.readBlock(0)).equals(block(1)));
  t.is(fixture.cache.slab.freeSlots, fixture.cache.slab.slots);
});
