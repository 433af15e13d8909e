import test from 'ava';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { storeError } from './memory-object-store.ts';
import { block, VolumeFixture } from './volume-fixture.ts';

/** A volume whose first objects are stored with their block's number, and held calls. */
function storedFixture(options: ConstructorParameters<typeof VolumeFixture>[0] = {}) {
  const fixture = new VolumeFixture(options);
  for (let object = 0; object < 4; object += 1) {
    for (let b = 0; b < fixture.store.blocks; b += 1) fixture.store.fill(object, b, block(b + 1));
  }
  fixture.store.isHolding = true;
  return fixture;
}

test('a miss fetches what was asked for, not the whole object', async (t) => {
  const { store, volume, clock } = storedFixture();
  const target = Buffer.alloc(3000);
  const reading = volume.read(5 * BLOCK_BYTES + 4000, target);
  await clock.turns();
  t.deepEqual(store.reads, [{ objectIndex: 0, startBlock: 5, blockCount: 2 }]);
  store.settleAll();
  await reading;
  t.true(target.subarray(0, 96).equals(block(6).subarray(0, 96)));
  t.true(target.subarray(96).equals(block(7).subarray(96, 3000)));
});

test('two readers of one missing block fetch it once', async (t) => {
  const fixture = storedFixture();
  const both = Promise.all([fixture.readBlock(3), fixture.readBlock(3)]);
  await fixture.clock.turns();
  t.is(fixture.store.reads.length, 1);
  fixture.store.settleAll();
  for (const bytes of await both) t.true(bytes.equals(block(4)));
});

test('what was fetched is read again without the store', async (t) => {
  const fixture = storedFixture();
  fixture.store.isHolding = false;
  await fixture.readBlock(3);
  const target = Buffer.alloc(BLOCK_BYTES);
  t.true(fixture.volume.tryRead(3 * BLOCK_BYTES, BLOCK_BYTES, target, 0));
  t.true(target.equals(block(4)));
  t.is(fixture.store.reads.length, 1);
});

test('a write to a block that is being fetched wins over the fetched bytes', async (t) => {
  const fixture = storedFixture();
  const reading = fixture.readBlock(3);
  await fixture.clock.turns();
  t.true(fixture.tryWriteBlock(3, 99));
  fixture.store.settleAll();
  t.true((await reading).equals(block(99)));
  t.true((await fixture.readBlock(3)).equals(block(99)));
});

test('a block written while it is fetched is sent only after the fetch', async (t) => {
  const fixture = storedFixture();
  const reading = fixture.readBlock(3);
  await fixture.clock.turns();
  fixture.tryWriteBlock(3, 99);
  const flushing = fixture.volume.flush();
  await fixture.clock.turns();
  t.is(fixture.store.writes.length, 0);
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(fixture.store.writes.length, 1);
  fixture.store.settleAll();
  await Promise.all([reading, flushing]);
  t.true(fixture.store.block(0, 3).equals(block(99)));
});

test('a trim of a block that is being fetched wins over the fetched bytes', async (t) => {
  const fixture = storedFixture();
  const reading = fixture.readBlock(3);
  await fixture.clock.turns();
  await fixture.volume.trim(3 * BLOCK_BYTES, BLOCK_BYTES);
  fixture.store.settleAll();
  await reading;
  t.true((await fixture.readBlock(3)).equals(block(0)));
});

test('a partial write of a missing block keeps the rest of the block', async (t) => {
  const fixture = storedFixture();
  const source = Buffer.alloc(10, 0xaa);
  t.false(fixture.volume.tryWrite(3 * BLOCK_BYTES + 100, 10, source, 0));
  const writing = fixture.volume.write(3 * BLOCK_BYTES + 100, source);
  await fixture.clock.turns();
  fixture.store.settleAll();
  await writing;
  const expected = block(4).fill(0xaa, 100, 110);
  t.true((await fixture.readBlock(3)).equals(expected));
});

test('partial writes of one missing block at once all arrive', async (t) => {
  const fixture = storedFixture();
  const writes = [0, 1, 2, 3].map((i) =>
    fixture.volume.write(3 * BLOCK_BYTES + i * 100, Buffer.alloc(100, 0xa0 + i)),
  );
  await fixture.clock.turns();
  t.is(fixture.store.reads.length, 1);
  fixture.store.settleAll();
  await Promise.all(writes);
  const expected = block(4);
  for (let i = 0; i < 4; i += 1) expected.fill(0xa0 + i, i * 100, i * 100 + 100);
  t.true((await fixture.readBlock(3)).equals(expected));
});

test('a write of whole blocks fetches nothing', async (t) => {
  const fixture = storedFixture();
  t.true(fixture.tryWriteBlock(3, 50));
  await fixture.clock.turns();
  t.is(fixture.store.reads.length, 0);
});

test('an object that was never written is read without the store', (t) => {
  const { volume, store } = new VolumeFixture();
  const target = Buffer.alloc(BLOCK_BYTES, 1);
  t.true(volume.tryRead(0, BLOCK_BYTES, target, 0));
  t.true(target.equals(block(0)));
  t.is(store.reads.length, 0);
});

test('a fetch that fails is told to its readers, and tried again by the next', async (t) => {
  const fixture = storedFixture();
  const reading = t.throwsAsync(fixture.readBlock(3), { message: storeError().message });
  await fixture.clock.turns();
  fixture.store.settleAll(storeError());
  await reading;
  t.is(fixture.cache.stats.fetchFailures, 1);
  t.is(fixture.ownedSlots, 0);
  fixture.store.isHolding = false;
  t.true((await fixture.readBlock(3)).equals(block(4)));
});

test('a fetch goes on through an eviction of everything else', async (t) => {
  const fixture = storedFixture({ slots: 16, limits: { segmentBlocksMax: 4, hardShare: 1 } });
  const reading = fixture.readBlock(3);
  await fixture.clock.turns();
  const held = [...fixture.store.held];
  fixture.store.isHolding = false;
  for (let b = 64; b < 128; b += 1) await fixture.readBlock(b);
  for (const call of held) call.settle();
  t.true((await reading).equals(block(4)));
});

test('sequential reading fetches ahead of the reader', async (t) => {
  const fixture = storedFixture();
  fixture.store.isHolding = false;
  for (let b = 0; b < 4; b += 1) await fixture.readBlock(b);
  await fixture.clock.turns();
  const { stats } = fixture.cache;
  t.true(stats.readAheadBlocks >= 32);
  t.is(stats.readAheadUsedBlocks, 2);
  t.true(fixture.volume.tryRead(20 * BLOCK_BYTES, BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES), 0));
  await fixture.clock.turns();
  t.is(fixture.cache.readAheadSlots, 0);
});

test('random reading fetches nothing ahead', async (t) => {
  const fixture = storedFixture();
  fixture.store.isHolding = false;
  for (const b of [3, 90, 17, 60, 140, 5, 77, 33]) await fixture.readBlock(b);
  t.is(fixture.cache.stats.readAheadBlocks, 0);
  t.is(fixture.store.reads.length, 8);
});

test('prefetch brings a range into the cache', async (t) => {
  const fixture = storedFixture();
  fixture.store.isHolding = false;
  await fixture.volume.prefetch(0, 100 * BLOCK_BYTES);
  t.true(fixture.volume.tryRead(0, 100 * BLOCK_BYTES, Buffer.alloc(100 * BLOCK_BYTES), 0));
});
