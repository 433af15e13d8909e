import test from 'ava';
import { Call, CallList } from '../../../store/peer/call-list.ts';
import { OperationStats } from '../../../store/peer/peer-stats.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { readOf } from './peer-pair.ts';

let made = 0;

function newCall(heldBytes = 1): Call {
  made += 1;
  const body = { name: 'read' as const, request: readOf(made, 1), into: [] };
  return new Call(
    body,
    heldBytes,
    new OperationStats(),
    () => {},
    () => {},
    made,
  );
}

function sendNext(list: CallList): Call {
  const call = list.unsent!;
  list.markSent(call);
  return call;
}

test('an answer is found by its request id once, and never by an earlier use of the slot', (t) => {
  const list = new CallList();
  list.add(newCall());
  const first = sendNext(list);
  const firstId = first.requestId;
  t.is(list.find(firstId), first);
  list.remove(first);
  t.is(list.find(firstId), undefined);
  list.add(newCall());
  const second = sendNext(list);
  t.is(list.find(firstId), undefined);
  t.is(list.find(second.requestId), second);
});

test('after a lost connection calls come again in the order in which they were made', (t) => {
  const list = new CallList();
  const calls = Array.from({ length: 6 }, () => newCall());
  for (const call of calls) list.add(call);
  for (let i = 0; i < 4; i += 1) sendNext(list);
  list.remove(calls[1]!);
  list.unsendAll();
  t.is(list.sentCount, 0);
  t.is(list.waitingCount, 5);
  const again = Array.from({ length: 5 }, () => sendNext(list));
  t.deepEqual(again, [calls[0], calls[2], calls[3], calls[4], calls[5]]);
  t.is(list.unsent, undefined);
});

test('the list agrees with a plain array under random use', (t) => {
  const random = new SeededRandom(Number(process.env['DROVER_TEST_SEED'] ?? Date.now()));
  t.log(`seed ${random.seed}`);
  const list = new CallList();
  let model: { readonly call: Call; sent: 'sent' | 'waiting' }[] = [];
  for (let step = 0; step < 20_000; step += 1) {
    const sent = model.filter((entry) => entry.sent === 'sent');
    const choice = random.below(100);
    if (choice < 40) {
      const call = newCall(random.below(10));
      list.add(call);
      model.push({ call, sent: 'waiting' });
    } else if (choice < 70 && list.unsent !== undefined) {
      const call = sendNext(list);
      const entry = model.find((one) => one.sent === 'waiting')!;
      if (entry.call !== call) t.fail('sent out of order');
      entry.sent = 'sent';
    } else if (choice < 98 && sent.length > 0) {
      const { call } = sent[random.below(sent.length)]!;
      if (list.find(call.requestId) !== call) t.fail('not found');
      list.remove(call);
      model = model.filter((entry) => entry.call !== call);
    } else if (choice === 98) {
      list.unsendAll();
      for (const entry of model) entry.sent = 'waiting';
    } else if (choice === 99 && random.below(5) === 0) {
      t.deepEqual(
        list.takeAll(),
        model.map(({ call }) => call),
      );
      model = [];
    }
    const nowSent = model.filter((entry) => entry.sent === 'sent');
    if (list.sentCount !== nowSent.length) t.fail('count of sent calls');
    if (list.waitingCount !== model.length - nowSent.length) t.fail('count of waiting calls');
    if (list.oldest !== model[0]?.call) t.fail('oldest');
    let bytes = 0;
    for (const { call } of nowSent) bytes += call.heldBytes;
    if (list.sentBytes !== bytes) t.fail('sent bytes');
  }
  t.pass();
});
