import test from 'ava';
import { BusyPoll, NO_BUSY_POLL } from '../../../store/runtime/busy-poll.ts';
import { systemClock } from '../../../store/runtime/clock.ts';

/** A clock at `nowMs` whose turns end when the test says so. */
function handClock() {
  const turns: (() => void)[] = [];
  const hand = { nowMs: 1000, turns };
  const clock = {
    ...systemClock,
    nowMs: () => hand.nowMs,
    endOfTurn: (run: () => void) => turns.push(run),
  };
  const endTurn = () => {
    for (const run of turns.splice(0)) run();
  };
  return { hand, clock, endTurn };
}

test('after an answer the loop is kept awake for the time set, and no longer', (t) => {
  const { hand, clock, endTurn } = handClock();
  const poll = new BusyPoll(clock, { answeredMs: 0.05, sentOnMs: 0.2 });
  poll.answered(hand.nowMs);
  t.is(hand.turns.length, 1);
  hand.nowMs += 0.04;
  endTurn();
  t.is(hand.turns.length, 1);
  hand.nowMs += 0.02;
  endTurn();
  t.is(hand.turns.length, 0);
});

test('each answer starts the time anew, and all share one loop', (t) => {
  const { hand, clock, endTurn } = handClock();
  const poll = new BusyPoll(clock, { answeredMs: 0.05, sentOnMs: 0.2 });
  poll.answered(hand.nowMs);
  hand.nowMs += 0.04;
  poll.answered(hand.nowMs);
  t.is(hand.turns.length, 1);
  hand.nowMs += 0.04;
  endTurn();
  t.is(hand.turns.length, 1);
  hand.nowMs += 0.02;
  endTurn();
  t.is(hand.turns.length, 0);
  poll.answered(hand.nowMs);
  t.is(hand.turns.length, 1);
});

test('the answer to what was sent on is waited for longer', (t) => {
  const { hand, clock, endTurn } = handClock();
  const poll = new BusyPoll(clock, { answeredMs: 0.05, sentOnMs: 0.2 });
  poll.sentOn(hand.nowMs);
  hand.nowMs += 0.19;
  endTurn();
  t.is(hand.turns.length, 1);
  poll.answered(hand.nowMs);
  hand.nowMs += 0.06;
  endTurn();
  t.is(hand.turns.length, 0, 'the latest says for how long');
});

test('with a time of 0 nothing is kept awake', (t) => {
  const { hand, clock } = handClock();
  new BusyPoll(clock, NO_BUSY_POLL).answered(hand.nowMs);
  t.is(hand.turns.length, 0);
});
