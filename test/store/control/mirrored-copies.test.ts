import test from 'ava';
import type { ControlPlane } from '../../../store/control/control-plane.ts';
import { COMMIT_TIMEOUT_MS, STALE_COPY_RETRY_MS } from '../../../store/control/limits.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { randomForTest } from '../../support/seeded-random.ts';
import { HandClock, settled } from './hand-clock.ts';
import { MemoryCopy, openOn } from './memory-copy.ts';

const threeCopies = (): [MemoryCopy, MemoryCopy, MemoryCopy] => [
  new MemoryCopy('one'),
  new MemoryCopy('two'),
  new MemoryCopy('three'),
];

const put = (control: ControlPlane, value: unknown): Promise<number> =>
  control.commit({ expect: [], put: [{ key: 'a', value }] });

test('with one of three copies failing, commits go on', async (t) => {
  const copies = threeCopies();
  const control = await openOn(copies);
  copies[1].mode = 'failing';
  await put(control, 1);
  t.deepEqual(
    copies.map((copy) => copy.value('a')),
    [1, undefined, 1],
  );
  t.deepEqual(control.currentCopies, ['one', 'three']);
});

test('with two of three copies failing, a commit fails and shows nowhere', async (t) => {
  const copies = threeCopies();
  const control = await openOn(copies);
  await put(control, 1);
  copies[1].mode = 'failing';
  copies[2].mode = 'failing';
  const error = await t.throwsAsync(put(control, 2));
  t.true(isDroverError(error, 'unavailable'));
  t.regex(error.message, /1 of 3 directories; 2 are needed/);
  t.is((await control.get('a'))?.value, 1);
});

test('a failed commit that reached a copy is undone there by the next one', async (t) => {
  const copies = threeCopies();
  const control = await openOn(copies);
  await put(control, 1);
  for (const copy of copies) copy.mode = 'lying';
  await t.throwsAsync(put(control, 2));
  for (const copy of copies) copy.mode = 'fine';
  await control.commit({ expect: [], put: [{ key: 'b', value: 1 }] });
  t.deepEqual(
    copies.map((copy) => copy.value('a')),
    [1, 1, 1],
  );
});

test('a copy that missed changes is replaced whole at the next change', async (t) => {
  const copies = threeCopies();
  const control = await openOn(copies);
  copies[1].mode = 'failing';
  await put(control, 1);
  copies[1].mode = 'fine';
  await control.commit({ expect: [], put: [{ key: 'b', value: 1 }] });
  await settled();
  t.is(copies[1].value('a'), 1);
  t.is(control.currentCopies.length, 3);
});

test('a copy that missed changes is replaced after a while without a change', async (t) => {
  const clock = new HandClock();
  const copies = threeCopies();
  const control = await openOn(copies, { clock });
  copies[1].mode = 'failing';
  await put(control, 1);
  await clock.advance(STALE_COPY_RETRY_MS);
  t.is(copies[1].value('a'), undefined);
  copies[1].mode = 'fine';
  await clock.advance(STALE_COPY_RETRY_MS);
  t.is(copies[1].value('a'), 1);
  t.is(control.currentCopies.length, 3);
});

test('a hanging copy delays nothing, and gets the newest when it answers', async (t) => {
  const copies = threeCopies();
  const control = await openOn(copies);
  copies[0].mode = 'hanging';
  await put(control, 1);
  await put(control, 2);
  await put(control, 3);
  t.is(copies[0].value('a'), undefined);
  copies[0].answer();
  await settled();
  t.is(copies[0].value('a'), 3);
  t.is(control.currentCopies.length, 3);
});

test('a commit without an answer from a majority fails within its limit', async (t) => {
  const clock = new HandClock();
  const copies = threeCopies();
  const control = await openOn(copies, { clock });
  await put(control, 1);
  copies[0].mode = 'hanging';
  copies[1].mode = 'hanging';
  const commit = t.throwsAsync(put(control, 2));
  await settled();
  await clock.advance(COMMIT_TIMEOUT_MS);
  t.true(isDroverError(await commit, 'unavailable'));
  t.is((await control.get('a'))?.value, 1);
  copies[0].answer();
  copies[1].answer();
  await settled();
  await control.commit({ expect: [], put: [{ key: 'b', value: 1 }] });
  await settled();
  t.deepEqual(
    copies.map((copy) => copy.value('a')),
    [1, 1, 1],
  );
});

test('the newest copy of a majority is right at opening, and the others get it', async (t) => {
  const copies = threeCopies();
  const control = await openOn(copies);
  await put(control, 1);
  copies[1].mode = 'failing';
  await put(control, 2);
  const [, stale, current] = copies.map((copy) => copy.reopened());
  const wiped = new MemoryCopy('one');
  const again = await openOn([wiped, stale!, current!]);
  t.is((await again.get('a'))?.value, 2);
  t.deepEqual(
    [wiped, stale!, current!].map((copy) => copy.value('a')),
    [2, 2, 2],
  );
});

test('one of three copies is not enough to open', async (t) => {
  const copies = threeCopies();
  await put(await openOn(copies), 1);
  const only = copies[0].reopened();
  const missing = await t.throwsAsync(openOn([only], { copyCount: 3 }));
  t.true(isDroverError(missing, 'unavailable'));
  const wiped = await t.throwsAsync(openOn([only, new MemoryCopy('x'), new MemoryCopy('y')]));
  t.true(isDroverError(wiped, 'unavailable'));
  t.regex(wiped.message, /in 1 of 3 directories, .*: give at least 2 of those/);
});

test('empty copies beside one that cannot be read do not start anew', async (t) => {
  const error = await t.throwsAsync(
    openOn([new MemoryCopy('x'), new MemoryCopy('y')], { copyCount: 3 }),
  );
  t.true(isDroverError(error, 'unavailable'));
});

test('copies of two control planes are not mixed', async (t) => {
  const [one, other] = [new MemoryCopy('one'), new MemoryCopy('other')];
  await openOn([one]);
  await openOn([other]);
  const error = await t.throwsAsync(openOn([one.reopened(), other.reopened()]));
  t.true(isDroverError(error, 'invalid'));
  t.regex(error.message, /one and other belong to different/);
});

test('one directory becomes three', async (t) => {
  const one = new MemoryCopy('one');
  await put(await openOn([one]), 1);
  const copies = [one.reopened(), new MemoryCopy('two'), new MemoryCopy('three')];
  await openOn(copies);
  const again = await openOn([new MemoryCopy('one'), copies[1]!.reopened(), copies[2]!.reopened()]);
  t.is((await again.get('a'))?.value, 1);
});

test('a change that only a minority got before does not return over later ones', async (t) => {
  const copies = threeCopies();
  const control = await openOn(copies);
  await put(control, 'old');
  copies[1].mode = 'failing';
  copies[2].mode = 'failing';
  await t.throwsAsync(put(control, 'unanswered'));
  t.is(copies[0].value('a'), 'unanswered');
  const [ahead, two, three] = copies.map((copy) => copy.reopened());
  ahead!.mode = 'failing';
  const second = await openOn([two!, three!], { copyCount: 3 });
  t.is((await second.get('a'))?.value, 'old');
  const third = await openOn([ahead!, two!, three!].map((copy) => copy.reopened()));
  t.is((await third.get('a'))?.value, 'old');
});

test('whatever one copy does and whenever the process ends, no answered commit is lost', async (t) => {
  const random = randomForTest(t);
  for (let round = 0; round < 200; round++) {
    let copies: MemoryCopy[] = threeCopies();
    let control = await openOn(copies);
    let answered = 0;
    let tried = 0;
    let seen = 0;
    for (let step = 0; step < 30; step++) {
      const troubled = random.below(3);
      const mode = (['fine', 'failing', 'lying'] as const)[random.below(3)]!;
      copies.forEach((copy, at) => {
        copy.mode = at === troubled ? mode : 'fine';
      });
      if (random.chance(0.1))
        for (const copy of copies) copy.mode = random.chance(0.5) ? 'lying' : 'failing';
      tried += 1;
      try {
        await put(control, tried);
        answered = tried;
      } catch (error) {
        t.true(isDroverError(error, 'unavailable'));
      }
      if (random.chance(0.3)) {
        copies = copies.map((copy) => copy.reopened());
        const absent = random.chance(0.5) ? random.below(3) : -1;
        const wiped =
          absent === -1 && random.chance(0.2) && answered === tried ? random.below(3) : -1;
        if (wiped !== -1 && copies.every((copy) => copy.value('a') === answered)) {
          copies[wiped] = new MemoryCopy(`wiped ${wiped}`);
        }
        control = await openOn(
          copies.filter((_, at) => at !== absent),
          { copyCount: 3 },
        );
      }
      const found = ((await control.get('a'))?.value as number | undefined) ?? 0;
      if (found < answered || found < seen || found > tried) {
        t.fail(`round ${round}, step ${step}: found ${found}, answered ${answered}, seen ${seen}`);
        return;
      }
      seen = found;
    }
  }
  t.pass();
});
