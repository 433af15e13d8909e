import test from 'ava';
import fc from 'fast-check';
import { BufferPool, OUTPUT_BYTES } from '../../../server/nbd/buffer-pool.ts';
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
  put(pattern(OUTPUT_BYTES));
  t.is(socket.writes, 0);
  put(pattern(1));
  t.is(socket.writes, 1);
});

test('eight replies of 128 KiB, or one of 1 MiB, fit one write', (t) => {
  const { socket, output, put } = makeOutput();
  for (let i = 0; i < 8; i += 1) put(pattern(128 * 1024 + 28, i));
  output.flush();
  t.is(socket.writes, 1);
  put(pattern(1024 * 1024 + 28));
  output.flush();
  t.is(socket.writes, 2);
});

test('a buffer lent for a payload is given back when the kernel has taken it', async (t) => {
  const { socket, pool, output } = makeOutput();
  const size = 100_000;
  socket.isBlocked = true;
  const loan = pool.take(size);
  output.append(loan.subarray(0, size));
  output.giveBack(loan);
  t.not(pool.take(size), loan);
  output.flush();
  t.not(pool.take(size), loan);
  socket.isBlocked = false;
  socket.takeAll();
  await settled();
  t.is(pool.take(size), loan);
});

test('a buffer lent for a payload of which a part was written before is not given back early', async (t) => {
  const { socket, pool, output } = makeOutput();
  const size = 100_000;
  socket.isBlocked = true;
  const loan = pool.take(size);
  output.append(loan.subarray(0, size / 2));
  output.flush();
  output.append(loan.subarray(size / 2, size / 2 + 10));
  output.giveBack(loan);
  t.not(pool.take(size), loan);
  socket.isBlocked = false;
  socket.takeAll();
  await settled();
  t.is(pool.take(size), loan);
});

test('a buffer lent for a payload that was copied is given back at once', (t) => {
  const { pool, output } = makeOutput();
  const loan = pool.take(1000);
  output.append(loan.subarray(0, 1000));
  output.giveBack(loan);
  t.is(pool.take(1000), loan);
});

test('replies ahead of a large one hold no large buffer while the client takes none', (t) => {
  const { socket, pool, output, put } = makeOutput();
  socket.isBlocked = true;
  put(pattern(100));
  output.flush();
  put(pattern(300_000));
  const large = output.bytes;
  output.append(pattern(100_000));
  t.is(pool.take(OUTPUT_BYTES), large);
});

test('a small reply ahead of a large one holds no large buffer', (t) => {
  const { socket, pool, output, put } = makeOutput();
  socket.isBlocked = true;
  put(pattern(16));
  const large = output.bytes;
  output.append(pattern(100_000));
  t.is(pool.take(OUTPUT_BYTES), large);
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
