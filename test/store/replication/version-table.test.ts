import test from 'ava';
import { VERSION_NONE } from '../../../store/engine/store-node.ts';
import { VersionTable } from '../../../store/replication/version-table.ts';
import { randomForTest } from '../../support/seeded-random.ts';

test('an object that was never written has no version and costs nothing', (t) => {
  const table = new VersionTable();
  t.deepEqual(table.get(2 ** 32 - 1), VERSION_NONE);
  t.is(table.epochOf(7), 0);
  t.is(table.seqOf(7), 0);
  table.set(2 ** 32 - 1, VERSION_NONE);
  t.is(table.pageBytes, 0);
  t.is(table.objectCount, 0);
});

test('the highest index, epoch and seq are kept exactly', (t) => {
  const table = new VersionTable();
  const version = { epoch: 2 ** 32 - 1, seq: 2 ** 53 - 1 };
  table.set(2 ** 32 - 1, version);
  t.deepEqual(table.get(2 ** 32 - 1), version);
  t.is(table.nextIndex(0), 2 ** 32 - 1);
});

test('versions are as a plain map has them, and are walked in order', (t) => {
  const random = randomForTest(t);
  const table = new VersionTable();
  const model = new Map<number, { epoch: number; seq: number }>();
  const bases = [0, 4090, 2 ** 20, 2 ** 31, 2 ** 32 - 10];
  for (let step = 0; step < 5000; step++) {
    const index = bases[random.below(bases.length)]! + random.below(10);
    if (random.chance(0.4)) {
      table.set(index, VERSION_NONE);
      model.delete(index);
    } else {
      const version = { epoch: 1 + random.below(5), seq: random.below(1e9) };
      table.set(index, version);
      model.set(index, version);
    }
    if (table.objectCount !== model.size) t.fail(`step ${step}: ${table.objectCount} objects`);
  }
  const walked: number[] = [];
  for (let at = table.nextIndex(0); at !== -1; at = table.nextIndex(at + 1)) walked.push(at);
  t.deepEqual(
    walked,
    [...model.keys()].sort((a, b) => a - b),
  );
  for (const index of walked) t.deepEqual(table.get(index), model.get(index));
});

test('a page that fills up and empties again has what a plain map has', (t) => {
  const random = randomForTest(t);
  const table = new VersionTable();
  const model = new Map<number, number>();
  // More objects are added than removed up to the middle, then the other way round.
  for (let step = 0; step < 40_000; step++) {
    const index = random.below(4096);
    const addShare = step % 20_000 < 12_000 ? 0.9 : 0.1;
    if (random.chance(addShare)) {
      table.set(index, { epoch: 2, seq: step + 1 });
      model.set(index, step + 1);
    } else {
      table.set(index, VERSION_NONE);
      model.delete(index);
    }
    if (step % 100 !== 0) continue;
    if (table.objectCount !== model.size) t.fail(`step ${step}: ${table.objectCount} objects`);
    for (let at = 0; at < 4096; at++) {
      if (table.seqOf(at) !== (model.get(at) ?? 0)) t.fail(`step ${step}: object ${at}`);
      if (table.epochOf(at) !== (model.has(at) ? 2 : 0)) t.fail(`step ${step}: object ${at}`);
    }
    let walked = 0;
    for (let at = table.nextIndex(0); at !== -1; at = table.nextIndex(at + 1)) walked++;
    t.is(walked, model.size);
  }
});

test('memory follows what was written: 32 bytes an object suffice when few were', (t) => {
  const table = new VersionTable();
  for (let index = 0; index < 2 ** 24; index += 64) table.set(index, { epoch: 1, seq: 1 });
  t.true(table.pageBytes / table.objectCount < 32);
});

test('16 bytes of memory an object suffice when the volume is full', (t) => {
  const table = new VersionTable();
  for (let index = 0; index < 1_000_000; index++) table.set(index, { epoch: 1, seq: index + 1 });
  t.true(table.pageBytes / 1_000_000 < 16);
  t.is(table.objectCount, 1_000_000);
});
