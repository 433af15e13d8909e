import test from 'ava';
import { BlockKind } from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { block, VolumeFixture } from './volume-fixture.ts';

async function flushed(fixture: VolumeFixture): Promise<void> {
  const flushing = fixture.volume.flush();
  await fixture.clock.turns();
  await flushing;
}

test('a trim of what was never written does nothing at all', async (t) => {
  const fixture = new VolumeFixture({ sizeBytes: 2 ** 40, objectBlocks: 1024 });
  const startMs = performance.now();
  const trimmed = fixture.track(fixture.volume.trim(0, 2 ** 40));
  await fixture.runUntil(() => trimmed() !== 'waiting');
  t.is(trimmed(), 'done');
  t.true(performance.now() - startMs < 5_000);
  t.is(fixture.cache.objectCount, 0);
  t.is(fixture.cache.dirtyObjects, 0);
});

test('trimmed blocks read as zeros at once and are holes in the store after a flush', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.fill(0, 0, Buffer.alloc(64 * BLOCK_BYTES, 5));
  await fixture.volume.trim(10 * BLOCK_BYTES, 4 * BLOCK_BYTES);
  t.true((await fixture.readBlock(10)).equals(block(0)));
  await flushed(fixture);
  t.deepEqual(fixture.store.writes, [
    { objectIndex: 0, extents: [{ startBlock: 10, blockCount: 4, kind: BlockKind.hole }] },
  ]);
  t.true(fixture.store.block(0, 13).equals(block(0)));
  t.true(fixture.store.block(0, 14).equals(block(5)));
});

test('a trim of a whole object takes no slot, no page and no read', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.fill(0, 0, Buffer.alloc(64 * BLOCK_BYTES, 5));
  await fixture.volume.trim(0, fixture.store.objectBytes);
  t.is(fixture.cache.slab.freeSlots, fixture.cache.slab.slots);
  t.is(fixture.cache.table.freePages, fixture.cache.table.pagesMax);
  t.is(fixture.store.reads.length, 0);
});

test('the parts of blocks at the ends of a trim read as zeros too', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.fill(0, 0, Buffer.alloc(64 * BLOCK_BYTES, 5));
  await fixture.volume.trim(BLOCK_BYTES - 10, BLOCK_BYTES + 20);
  const target = Buffer.alloc(4 * BLOCK_BYTES);
  await fixture.volume.read(0, target);
  const expected = Buffer.alloc(4 * BLOCK_BYTES, 5).fill(0, BLOCK_BYTES - 10, 2 * BLOCK_BYTES + 10);
  t.true(target.equals(expected));
});

test('written zeros stay allocated unless a hole may be punched', async (t) => {
  const fixture = new VolumeFixture();
  await fixture.volume.writeZeroes(0, BLOCK_BYTES, false);
  await fixture.volume.writeZeroes(2 * BLOCK_BYTES, BLOCK_BYTES, true);
  await flushed(fixture);
  t.is(fixture.store.kind(0, 0), BlockKind.zero);
  t.is(fixture.store.kind(0, 2), BlockKind.hole);
});

test('a block trimmed in flight stays a hole when the write is acknowledged', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.isHolding = true;
  fixture.tryWriteBlock(0, 1);
  void fixture.volume.flush();
  await fixture.clock.turns();
  await fixture.volume.trim(0, fixture.store.objectBytes);
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.true((await fixture.readBlock(0)).equals(block(0)));
  await fixture.runUntil(() => fixture.cache.dirtyObjects === 0);
  t.true(fixture.store.block(0, 0).equals(block(0)));
  t.is(fixture.ownedSlots, 0);
});

test('a write into a trimmed range is newer than the trim', async (t) => {
  const fixture = new VolumeFixture();
  fixture.store.fill(0, 0, Buffer.alloc(64 * BLOCK_BYTES, 5));
  await fixture.volume.trim(0, fixture.store.objectBytes);
  fixture.volume.tryWrite(3 * BLOCK_BYTES + 5, 5, Buffer.alloc(5, 8), 0);
  await flushed(fixture);
  t.true(fixture.store.block(0, 3).equals(block(0).fill(8, 5, 10)));
  t.true(fixture.store.block(0, 4).equals(block(0)));
});
