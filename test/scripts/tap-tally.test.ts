import test from 'ava';
import { TapTally } from '../../scripts/tap-tally.ts';

test('a line of TAP counts as what it says', (t) => {
  const cases: [line: string, passed: number, failed: number][] = [
    ['ok 1 - engine › a write is durable', 1, 0],
    ['not ok 2 - engine › a write is durable', 0, 1],
    ['not ok 3 - test/a.test.ts exited with a non-zero exit code: 1', 0, 1],
    ['ok 4 - a › not now # SKIP', 0, 1],
    ['not ok 5 - a › some day # TODO', 0, 1],
    ['    message: ok 6 - quoted', 0, 0],
    ['# tests 5', 0, 0],
    ['1..6', 0, 0],
  ];
  for (const [line, passed, failed] of cases) {
    const tally = new TapTally();
    tally.take(line);
    t.deepEqual([tally.passed, tally.failed], [passed, failed], line);
  }
});

test('what explains a failure is printed, the frame of TAP is not', (t) => {
  const tally = new TapTally();
  t.is(tally.take('    message: boom'), '    message: boom');
  t.is(tally.take('TAP version 13'), undefined);
  t.is(tally.take('# fail 1'), undefined);
});

test('the report repeats what explains each failure, and nothing of what passed', (t) => {
  const tally = new TapTally();
  const lines = [
    'ok 1 - passes',
    '#   a log of what passes',
    'not ok 2 - fails',
    '#   seed 7',
    '    message: boom',
    '# afterEach hook for passes',
    'ok 3 - passes too',
    '    message: of nobody',
  ];
  for (const line of lines) tally.take(line);
  t.is(tally.report(), ['Failed:', '  ✘ fails', '#   seed 7', '    message: boom'].join('\n'));
});

test('of a long log only the end is repeated, and the error in full', (t) => {
  const tally = new TapTally();
  for (const line of ['not ok 1 - fails', '  ---', '    message: boom', '  ...']) tally.take(line);
  for (let i = 1; i <= 100; i += 1) tally.take(`#   line ${i}`);
  const report = tally.report().split('\n');
  t.deepEqual(report.slice(1, 5), ['  ✘ fails', '  ---', '    message: boom', '  ...']);
  t.is(report.length, 45);
  t.is(report.at(-1), '#   line 100');
});
