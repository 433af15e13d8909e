import test from 'ava';
import fc from 'fast-check';
import { BufferPool, POOL_BUFFER_BYTES } from '../../../server/nbd/buffer-pool.ts';
import { Output } from '../../../server/nbd/output.ts';
import { pattern } from './bytes.ts';
import { FakeSocket } from './output-socket.ts';

function makeOutput() {
  const socket = new FakeSocket();
  const pool = new BufferPool();
  const held = { total: 0 };
  const events = { taken: 0 };
  const output = new Output(socket, pool, held, () => {
    events.taken += 1;
  });
  const put = (bytes: Buffer) => {
    output.reserve(bytes.length);
    output.used += bytes.copy(output.bytes, output.used);
    output.replyDone();
  };
  return { socket, pool, held, events, output, put };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('replies of one turn leave in one write', (t) => {
  const { socket, output, put } = makeOutput();
  put(pattern(16, 1));
  put(pattern(16, 2));
  t.is(socket.writes, 0);
  output.flush();
  t.is(socket.writes, 1);
  t.deepEqual(socket.bytes, Buffer.concat([pattern(16, 1), pattern(16, 2)]));
  t.is(output.unsentBytes, 0);
});

test('a buffer that the kernel took at once is used again', (t) => {
  const { output, put } = makeOutput();
  put(pattern(16));
  const first = output.bytes;
  output.flush();
  put(pattern(16));
  t.is(output.bytes, first);
});

test('a buffer that the kernel has not taken is left alone', async (t) => {
  const { socket, output, put, held, events } = makeOutput();
  socket.isBlocked = true;
  put(pattern(1000, 1));
  output.flush();
  put(pattern(1000, 2));
  output.flush();
  t.is(socket.writes, 1);
  t.is(output.unsentBytes, 2000);
  t.is(held.total, 1000);
  socket.isBlocked = false;
  socket.takeAll();
  await settled();
  t.deepEqual(socket.bytes, Buffer.concat([pattern(1000, 1), pattern(1000, 2)]));
  t.is(output.unsentBytes, 0);
  t.is(held.total, 0);
  t.is(events.taken, 1);
});

test('a full buffer is written before the turn ends', (t) => {
  const { socket, put } = makeOutput();
  put(pattern(POOL_BUFFER_BYTES / 2));
  t.is(socket.writes, 1);
});

test('a large payload is not copied', async (t) => {
  const { socket, output } = makeOutput();
  socket.isBlocked = true;
  const payload = pattern(100_000);
  output.append(payload);
  output.flush();
  payload[5] = 0;
  socket.takeAll();
  await settled();
  t.is(socket.bytes[5], 0);
});

test('what is discarded counts no more and is not written', (t) => {
  const { socket, output, put, held } = makeOutput();
  socket.isBlocked = true;
  put(pattern(1000));
  output.flush();
  output.append(pattern(100_000));
  put(pattern(1000));
  output.discard();
  t.is(output.unsentBytes, 0);
  t.is(held.total, 0);
  output.flush();
  t.is(socket.writes, 1);
});

test('bytes leave in the order in which they were put, whenever the kernel takes them', async (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('put' as const), bytes: fc.nat(40_000) }),
    fc.record({ kind: fc.constant('append' as const), bytes: fc.nat(300_000) }),
    fc.constant({ kind: 'flush' as const }),
    fc.constant({ kind: 'block' as const }),
    fc.constant({ kind: 'take' as const }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { socket, output, put, held } = makeOutput();
      const all: Buffer[] = [];
      for (const [index, move] of steps.entries()) {
        if (move.kind === 'put' || move.kind === 'append') {
          const bytes = pattern(move.bytes, index);
          all.push(Buffer.from(bytes));
          if (move.kind === 'put') put(bytes);
          else output.append(bytes);
        } else if (move.kind === 'flush') {
          output.flush();
        } else if (move.kind === 'block') {
          socket.isBlocked = true;
        } else {
          socket.isBlocked = false;
          socket.takeAll();
          await settled();
        }
      }
      output.flush();
      socket.isBlocked = false;
      socket.takeAll();
      await settled();
      await settled();
      t.is(Buffer.compare(socket.bytes, Buffer.concat(all)), 0);
      t.is(output.unsentBytes, 0);
      t.is(held.total, 0);
    }),
    { numRuns: 100 },
  );
});
