import test from 'ava';
import { AttachedVolume } from '../../../server/volume/attached-volume.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { MemoryObjectStore, storeError } from './memory-object-store.ts';
import { block, VolumeFixture } from './volume-fixture.ts';

function holding(options: ConstructorParameters<typeof VolumeFixture>[0] = {}): VolumeFixture {
  const fixture = new VolumeFixture(options);
  fixture.store.isHolding = true;
  return fixture;
}

test('a flush is answered after its objects are durable, not before', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  fixture.tryWriteBlock(70, 2);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  t.is(fixture.store.held.length, 2, 'both objects are sent at once');
  fixture.store.held[1]!.settle();
  await fixture.clock.turns();
  t.is(flushed(), 'waiting');
  fixture.store.held[0]!.settle();
  await fixture.clock.turns();
  t.is(flushed(), 'done');
});

test('a flush with nothing dirty is answered at once', async (t) => {
  const fixture = holding();
  await fixture.volume.flush();
  t.is(fixture.store.writes.length, 0);
});

test('flushes of one turn share one write of the object', async (t) => {
  const fixture = holding();
  const flushed = [1, 2, 3].map((b) => {
    fixture.tryWriteBlock(b, b);
    return fixture.track(fixture.volume.flush());
  });
  await fixture.clock.turns();
  t.deepEqual(fixture.store.writes, [
    { objectIndex: 0, extents: [{ startBlock: 1, blockCount: 3, kind: 2 }] },
  ]);
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.deepEqual(
    flushed.map((state) => state()),
    ['done', 'done', 'done'],
  );
});

test('a flush covers the writes of other devices', async (t) => {
  const fixture = holding();
  const one = fixture.volume.openDevice();
  const other = fixture.volume.openDevice();
  one.tryWrite(0, BLOCK_BYTES, block(7), 0);
  const flushing = other.flush();
  await fixture.clock.turns();
  fixture.store.settleAll();
  await flushing;
  t.true(fixture.store.block(0, 0).equals(block(7)));
});

test('a flush waits for a write that the drainer has in flight', async (t) => {
  const fixture = holding({ limits: { dirtyAgeMsMax: 10 } });
  fixture.tryWriteBlock(0, 1);
  await fixture.clock.advance(20);
  t.is(fixture.store.held.length, 1);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  t.is(flushed(), 'waiting');
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'done');
  t.is(fixture.store.writes.length, 1);
});

test('a clean block is read during the flush of its neighbour', async (t) => {
  const fixture = holding();
  fixture.store.isHolding = false;
  fixture.tryWriteBlock(0, 1);
  const flushing = fixture.volume.flush();
  await fixture.clock.turns();
  await flushing;
  fixture.store.isHolding = true;
  fixture.tryWriteBlock(1, 2);
  void fixture.volume.flush();
  await fixture.clock.turns();
  const target = Buffer.alloc(2 * BLOCK_BYTES);
  t.true(fixture.volume.tryRead(0, 2 * BLOCK_BYTES, target, 0));
  t.true(target.equals(Buffer.concat([block(1), block(2)])));
});

test('a write of a block in flight waits for nothing and leaves the bytes in flight alone', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  const first = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  t.true(fixture.tryWriteBlock(0, 2));
  t.true((await fixture.readBlock(0)).equals(block(2)));
  const second = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  t.is(fixture.store.held.length, 1, 'one write in flight for each object');
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.true(fixture.store.block(0, 0).equals(block(1)));
  t.deepEqual([first(), second()], ['done', 'waiting']);
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(second(), 'done');
  t.true(fixture.store.block(0, 0).equals(block(2)));
  t.deepEqual(fixture.store.failures, []);
});

test('a partial write of a block in flight keeps the rest of the block', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  void fixture.volume.flush();
  await fixture.clock.turns();
  t.true(fixture.volume.tryWrite(100, 10, Buffer.alloc(10, 9), 0));
  t.true((await fixture.readBlock(0)).equals(block(1).fill(9, 100, 110)));
});

test('a flush that fails keeps the blocks dirty and says so', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.store.settleAll(storeError());
  await fixture.clock.turns();
  t.is(flushed(), storeError().message);
  t.is(fixture.volume.dirtyBytes, BLOCK_BYTES);
  t.is(fixture.cache.stats.writeFailures, 1);
  const again = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(again(), 'done');
  t.true(fixture.store.block(0, 0).equals(block(1)));
});

test('a failed write is told to every flush that covers it', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  const first = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.tryWriteBlock(70, 1);
  const second = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.store.held[1]!.settle();
  fixture.store.held[0]!.settle(storeError());
  await fixture.clock.turns();
  t.deepEqual([first(), second()], [storeError().message, storeError().message]);
});

test('a newer write wins over the one that failed', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.tryWriteBlock(0, 2);
  fixture.store.settleAll(storeError());
  await fixture.clock.turns();
  t.is(flushed(), storeError().message);
  await fixture.runUntil(() => fixture.volume.dirtyBytes === 0);
  t.true(fixture.store.block(0, 0).equals(block(2)));
  t.is(fixture.ownedSlots, 0);
});

test('what failed is written again without a flush, after a pause that grows', async (t) => {
  const fixture = holding({ limits: { dirtyAgeMsMax: 10, retryMsMin: 100, retryMsMax: 1000 } });
  fixture.tryWriteBlock(0, 1);
  await fixture.clock.advance(20);
  const pausesMs: number[] = [];
  for (let i = 0; i < 4; i += 1) {
    fixture.store.settleAll(storeError());
    await fixture.clock.turns();
    const failedMs = fixture.clock.nowMs();
    while (fixture.store.held.length === 0) await fixture.clock.advance(10);
    pausesMs.push(fixture.clock.nowMs() - failedMs);
  }
  t.deepEqual(pausesMs, [100, 200, 400, 800]);
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(fixture.volume.dirtyBytes, 0);
});

test('a flush of a range sends only its objects', async (t) => {
  const fixture = holding();
  for (const b of [0, 70, 140]) fixture.tryWriteBlock(b, 1);
  const flushed = fixture.track(fixture.volume.flushRange(70 * BLOCK_BYTES, 10));
  await fixture.clock.turns();
  t.deepEqual(
    fixture.store.writes.map((write) => write.objectIndex),
    [1],
  );
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'done');
});

test('a flush of a range in flight covers what was written since', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  void fixture.volume.flush();
  await fixture.clock.turns();
  fixture.tryWriteBlock(0, 2);
  const flushed = fixture.track(fixture.volume.flushRange(0, 1));
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'waiting');
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'done');
  t.true(fixture.store.block(0, 0).equals(block(2)));
});

test('neighbours are sent as one extent, with blocks apart as their own', async (t) => {
  const fixture = holding();
  for (const b of [5, 4, 3, 9]) fixture.tryWriteBlock(b, b);
  void fixture.volume.flush();
  await fixture.clock.turns();
  t.deepEqual(fixture.store.writes[0]!.extents, [
    { startBlock: 3, blockCount: 3, kind: 2 },
    { startBlock: 9, blockCount: 1, kind: 2 },
  ]);
  fixture.store.settleAll();
  await fixture.clock.turns();
  for (const b of [5, 4, 3, 9]) t.true(fixture.store.block(0, b).equals(block(b)));
});

test('what a flush has in flight is bounded, and all of it is sent', async (t) => {
  const fixture = holding({ limits: { flushFlightsMax: 3 } });
  for (let object = 0; object < 10; object += 1) fixture.tryWriteBlock(object * 64, 1);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  t.is(fixture.store.held.length, 3);
  t.true(await fixture.runUntil(() => flushed() === 'done'));
  t.is(fixture.store.writes.length, 10);
});

test('a flush has less in flight while somebody reads', async (t) => {
  const limits = { flushBytesMax: 6 * BLOCK_BYTES, flushBytesMaxBesideReads: 2 * BLOCK_BYTES };
  const fixture = holding({ limits: { ...limits, readingMs: 20 } });
  for (let object = 0; object < 10; object += 1) fixture.tryWriteBlock(object * 64, 1);
  const { volume, store, clock } = fixture;
  const read = () => volume.tryRead(0, BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES), 0);
  t.true(read());
  const flushed = fixture.track(volume.flush());
  await clock.turns();
  t.is(store.held.length, 2);
  await clock.advance(15);
  t.true(read());
  store.held[0]!.settle();
  await clock.turns();
  await clock.advance(15);
  store.held[0]!.settle();
  await clock.turns();
  t.is(store.writes.length, 4, 'two landed, and two are in flight');
  await clock.advance(20);
  store.held[0]!.settle();
  await clock.turns();
  t.is(store.held.length, 6, 'nobody reads any more');
  t.true(await fixture.runUntil(() => flushed() === 'done'));
});

test('a volume whose store does not answer leaves others their room while somebody reads', async (t) => {
  const limits = { flushBytesMax: 6 * BLOCK_BYTES, flushBytesMaxBesideReads: 2 * BLOCK_BYTES };
  const fixture = holding({ limits });
  const { volume, store, cache, clock } = fixture;
  const other = new AttachedVolume({
    ...{ name: 'other', sizeBytes: 64 * BLOCK_BYTES, cache, clock, cacheMode: 'writeback' },
    objectStore: new MemoryObjectStore(64 * BLOCK_BYTES),
  });
  for (let object = 0; object < 5; object += 1) fixture.tryWriteBlock(object * 64, 1);
  t.true(volume.tryRead(0, BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES), 0));
  void volume.flush();
  await clock.turns();
  t.is(store.held.length, 2);
  t.true(other.tryWrite(0, BLOCK_BYTES, block(7), 0));
  const flushing = other.flush();
  await clock.turns();
  await flushing;
  t.is(store.held.length, 2);
});

test('closing flushes, and leaves nothing in the cache', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  const closed = fixture.track(fixture.volume.close());
  t.true(await fixture.runUntil(() => closed() === 'done'));
  t.true(fixture.store.block(0, 0).equals(block(1)));
  t.is(fixture.cache.slab.freeSlots, fixture.cache.slab.slots);
  t.is(fixture.cache.objectCount, 0);
});

test('discarding writes nothing more and gives waiting flushes an error', async (t) => {
  const fixture = holding();
  fixture.tryWriteBlock(0, 1);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.tryWriteBlock(70, 1);
  const discarded = fixture.track(fixture.volume.discard());
  await fixture.clock.turns();
  t.is(flushed(), 'the volume was detached');
  t.is(discarded(), 'waiting', 'a write is under way');
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(discarded(), 'done');
  t.is(fixture.store.writes.length, 1);
  t.is(fixture.cache.slab.freeSlots, fixture.cache.slab.slots);
  await t.throwsAsync(fixture.volume.write(0, block(1)), { message: /detached/ });
});

test('a volume that was closed answers nothing any more', async (t) => {
  const { volume } = new VolumeFixture();
  await volume.close();
  t.false(volume.tryRead(0, BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES), 0));
  t.is(volume.tryRunBytes(0, BLOCK_BYTES), 0);
  t.false(volume.tryWrite(0, BLOCK_BYTES, block(1), 0));
  const requests = [
    () => volume.read(0, Buffer.alloc(BLOCK_BYTES)),
    () => volume.write(0, block(1)),
    () => volume.trim(0, BLOCK_BYTES),
    () => volume.writeZeroes(0, BLOCK_BYTES, false),
    () => volume.prefetch(0, BLOCK_BYTES),
    () => volume.allocation(0, BLOCK_BYTES, 1),
    () => volume.flush(),
    () => volume.flushRange(0, BLOCK_BYTES),
  ];
  for (const request of requests) await t.throwsAsync(request, { message: /detached/ });
});

/** A client that has written one block and flushed so often that its next FLUSH is expected. */
async function synced(times = 3): Promise<VolumeFixture> {
  const fixture = new VolumeFixture({ limits: { foresightFlushes: 3 } });
  for (let value = 1; value <= times; value += 1) {
    fixture.tryWriteBlock(70, value);
    const flushing = fixture.volume.flush();
    await fixture.clock.turns();
    await flushing;
  }
  fixture.store.isHolding = true;
  fixture.store.writes.length = 0;
  return fixture;
}

test('a write is sent before the flush that is expected after it', async (t) => {
  const fixture = await synced();
  fixture.tryWriteBlock(1, 9);
  await fixture.clock.turns();
  t.deepEqual(fixture.store.writes, [
    { objectIndex: 0, extents: [{ startBlock: 1, blockCount: 1, kind: 2 }] },
  ]);
  t.is(fixture.cache.stats.sentAheadObjects, 1);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  t.is(flushed(), 'waiting');
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'done');
  t.is(fixture.store.writes.length, 1, 'the flush has nothing to send');
});

test('flushes that find everything durable are expected no less', async (t) => {
  const fixture = await synced();
  fixture.store.isHolding = false;
  for (let value = 1; value <= 5; value += 1) {
    fixture.tryWriteBlock(1, value);
    await fixture.clock.turns();
    t.is(fixture.cache.stats.sentAheadObjects, value);
    await fixture.volume.flush();
  }
});

test('no write is sent before a flush that is not sure to come', async (t) => {
  const fixture = await synced(2);
  fixture.tryWriteBlock(1, 9);
  await fixture.clock.turns();
  t.is(fixture.store.writes.length, 0);
});

test('a flush covers what was written after the write that was sent ahead', async (t) => {
  const fixture = await synced();
  fixture.tryWriteBlock(1, 9);
  await fixture.clock.turns();
  fixture.tryWriteBlock(1, 10);
  fixture.tryWriteBlock(2, 11);
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'waiting');
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'done');
  t.true(fixture.store.block(0, 1).equals(block(10)));
  t.true(fixture.store.block(0, 2).equals(block(11)));
});

test('nothing is sent ahead while writes fail, and a flush sends what failed again', async (t) => {
  const fixture = await synced();
  fixture.tryWriteBlock(1, 9);
  await fixture.clock.turns();
  fixture.store.settleAll(storeError());
  await fixture.clock.turns();
  const failing = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  t.is(fixture.store.writes.length, 2);
  fixture.store.settleAll(storeError());
  await fixture.clock.turns();
  t.is(failing(), storeError().message);
  fixture.tryWriteBlock(70, 10);
  await fixture.clock.turns();
  t.is(fixture.store.writes.length, 2, 'the flush is expected, and nothing is sent');
  const flushed = fixture.track(fixture.volume.flush());
  await fixture.clock.turns();
  fixture.store.settleAll();
  await fixture.clock.turns();
  t.is(flushed(), 'done');
  t.true(fixture.store.block(0, 1).equals(block(9)));
});
