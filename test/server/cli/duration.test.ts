import test from 'ava';
import { durationSchema, formatDuration } from '../../../server/cli/duration.ts';

test('a duration is a number with a unit, within its bounds', (t) => {
  const schema = durationSchema(100, 600_000);
  for (const [text, ms] of [
    ['100ms', 100],
    ['5s', 5000],
    ['1.5s', 1500],
    ['2m', 120_000],
  ] as const) {
    t.is(schema.parse(text), ms);
  }
  for (const text of ['5', 's', '-1s', '99ms', '11m', '1h', '']) {
    t.regex(schema.safeParse(text).error!.issues[0]!.message, /as in 5s, from 100ms to 10m/);
  }
});

test('a duration is printed in the unit that fits', (t) => {
  t.deepEqual([250, 1000, 1500, 90_000].map(formatDuration), ['250ms', '1s', '1.5s', '1.5m']);
});
