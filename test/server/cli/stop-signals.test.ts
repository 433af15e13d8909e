import { EventEmitter } from 'node:events';
import test from 'ava';
import { StopSignals } from '../../../server/cli/stop-signals.ts';
import { systemClock } from '../../../store/runtime/clock.ts';

function scene() {
  const source = new EventEmitter();
  const seen = { nowMs: 0, said: [] as string[], exits: 0 };
  const signals = new StopSignals({
    source,
    clock: { ...systemClock, nowMs: () => seen.nowMs },
    waitingFor: () => 'the flush of 5 MiB',
    say: (line) => seen.said.push(line),
    exit: () => {
      seen.exits += 1;
    },
  });
  const send = (signal: string, afterMs: number) => {
    seen.nowMs += afterMs;
    source.emit(signal, signal);
  };
  return { signals, seen, send };
}

test('one signal stops, the second is told what is waited for, the third ends the process', async (t) => {
  const { signals, seen, send } = scene();
  send('SIGTERM', 0);
  t.is(await signals.first, 'SIGTERM');
  t.deepEqual(seen.said, []);
  send('SIGINT', 1000);
  t.regex(seen.said.at(-1)!, /waiting for the flush of 5 MiB/);
  t.is(seen.exits, 0);
  send('SIGINT', 1000);
  t.is(seen.exits, 1);
});

test('a signal and its echo from npm are one', (t) => {
  const { seen, send } = scene();
  for (const presses of [1, 2]) {
    send('SIGINT', 1000);
    send('SIGINT', 3);
    t.is(seen.said.length, presses - 1);
    t.is(seen.exits, 0);
  }
});
