import test from 'ava';
import { FlushForesight } from '../../../server/cache/flush-foresight.ts';

/** `w` is a write, `f` a FLUSH; returns the places of the writes after which a FLUSH is expected. */
function expectedAfter(timesMin: number, events: string): number[] {
  const foresight = new FlushForesight(timesMin);
  const places: number[] = [];
  for (const [place, event] of [...events].entries()) {
    if (event === 'f') foresight.flushed();
    else if (foresight.wrote()) places.push(place);
  }
  return places;
}

const cases: readonly [string, number, string, number[]][] = [
  ['a FLUSH after each write is expected when it was seen often enough', 3, 'wfwfwfw', [6]],
  ['and not before', 3, 'wfwfw', []],
  ['of several writes, only the last leads to a FLUSH', 2, 'wwwfwwwfwww', [10]],
  ['one write more makes unsure', 2, 'wfwfwwfwfw', [4]],
  ['unsure once, it takes as many FLUSHes as at first', 2, 'wwfwwfwfwwfwwfww', [15]],
  ['one write less makes unsure', 2, 'wwfwwfwfwwfww', []],
  ['no FLUSH is expected twice', 2, 'wfwfwwww', [4]],
  ['FLUSHes without a write before them count for nothing', 2, 'wffwfffwff', [7]],
];

for (const [title, timesMin, events, places] of cases) {
  test(title, (t) => {
    t.deepEqual(expectedAfter(timesMin, events), places);
  });
}
