import test from 'ava';
import { cut, fitsOneTurn, inTurn, TURN_BYTES } from '../../../store/runtime/long-writes.ts';

test('a write is long when its buffers together are more than one turn may send', (t) => {
  const half = Buffer.alloc(TURN_BYTES / 2);
  t.true(fitsOneTurn([half, half]));
  t.false(fitsOneTurn([half, half, Buffer.alloc(1)]));
});

for (const sizes of [
  [TURN_BYTES + 1],
  [3 * TURN_BYTES],
  [1, TURN_BYTES, TURN_BYTES - 1],
  [TURN_BYTES - 1, 0, 5 * TURN_BYTES + 7, 100],
  Array.from({ length: 300 }, (_, i) => 4096 + i),
]) {
  const name = sizes.length > 5 ? `${sizes.length} buffers` : sizes.join(' + ');
  test(`cutting ${name} bytes keeps every byte in its place, in pieces of one turn`, (t) => {
    const buffers = sizes.map((bytes, i) => Buffer.alloc(bytes, i + 1));
    const pieces = cut(buffers);
    t.true(pieces.every(fitsOneTurn));
    t.true(Buffer.concat(pieces.flat()).equals(Buffer.concat(buffers)));
    t.is(pieces.length, Math.ceil(Buffer.concat(buffers).length / TURN_BYTES));
  });
}

test.serial('one piece is sent in a turn, and the senders take turns', async (t) => {
  const sent: string[] = [];
  let turn = 0;
  const turns: number[] = [];
  const sender = (name: string, pieces: number) => {
    if (pieces === 0) return;
    inTurn(() => {
      sent.push(name);
      turns.push(turn);
      sender(name, pieces - 1);
    });
  };
  sender('a', 3);
  sender('b', 2);
  while (sent.length < 5) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    turn += 1;
  }
  t.deepEqual(sent, ['a', 'b', 'a', 'b', 'a']);
  t.is(new Set(turns).size, 5);
});
