import test from 'ava';
import { BlockState, failMove, isLegalMove } from '../../../server/cache/block-states.ts';
import { Slab } from '../../../server/cache/slab.ts';

test('slots are taken in ascending order, also after a run was given back from its end', (t) => {
  const slab = new Slab(8);
  t.deepEqual(
    Array.from({ length: 5 }, () => slab.take()),
    [0, 1, 2, 3, 4],
  );
  for (const slot of [3, 2, 1]) slab.give(slot);
  t.deepEqual(
    Array.from({ length: 4 }, () => slab.take()),
    [1, 2, 3, 5],
  );
});

test('a slot given back twice stops the process', (t) => {
  const slab = new Slab(2);
  const slot = slab.take();
  slab.give(slot);
  t.throws(() => slab.give(slot), { message: /given back twice/ });
});

test('views join neighbours', (t) => {
  const slab = new Slab(8);
  t.deepEqual(
    slab.views([0, 1, 2, 5, 4, 6, 7]).map((view) => view.length / 4096),
    [3, 1, 1, 2],
  );
});

test('bytes come back from where they were put', (t) => {
  const slab = new Slab(4);
  slab.copyIn(2, 100, Buffer.from('abcdef'), 1, 4);
  const target = Buffer.alloc(6, '.');
  slab.copyOut(2, 100, target, 1, 4);
  t.is(target.toString(), '.bcde.');
});

test('an illegal move names the legal ones', (t) => {
  t.false(isLegalMove(BlockState.absent, BlockState.clean));
  t.throws(() => failMove(BlockState.hole, BlockState.clean), {
    message: 'a block moved from hole to clean; legal: absent,dirty,dirtyHole,dirtyZero',
  });
});
