import test from 'ava';
import { StopSequence } from '../../../server/cli/stop-sequence.ts';

test('what was opened last is closed first', async (t) => {
  const order: string[] = [];
  const stop = new StopSequence();
  for (const name of ['a', 'b', 'c']) {
    stop.add(
      () => name,
      async () => {
        order.push(name);
      },
    );
  }
  t.deepEqual(await stop.stop(), []);
  t.deepEqual(order, ['c', 'b', 'a']);
});

test('a step that fails is reported and the others still run', async (t) => {
  let engineClosed = false;
  const stop = new StopSequence();
  stop.add(
    () => 'the checkpoint',
    async () => {
      engineClosed = true;
    },
  );
  stop.add(
    () => 'the flush of disk0',
    async () => {
      throw new Error('the disk is gone');
    },
  );
  t.deepEqual(await stop.stop(), ['the flush of disk0: the disk is gone']);
  t.true(engineClosed);
});

test('stopping twice is one stop', async (t) => {
  let runs = 0;
  const stop = new StopSequence();
  stop.add(
    () => 'x',
    async () => {
      runs += 1;
    },
  );
  await Promise.all([stop.stop(), stop.stop()]);
  t.is(runs, 1);
});

test('it says what it is waiting for', async (t) => {
  const stop = new StopSequence();
  let finish = () => {};
  stop.add(
    () => 'the flush',
    () =>
      new Promise((resolve) => {
        finish = resolve;
      }),
  );
  const stopped = stop.stop();
  t.is(stop.waitingFor(), 'the flush');
  finish();
  await stopped;
});
