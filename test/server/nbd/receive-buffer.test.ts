import test from 'ava';
import fc from 'fast-check';
import { BufferPool, POOL_BUFFER_BYTES } from '../../../server/nbd/buffer-pool.ts';
import { ReceiveBuffer } from '../../../server/nbd/receive-buffer.ts';
import { pattern } from './bytes.ts';

/** As much of `bytes` as there is room for arrives; returns how much. */
function receive(input: ReceiveBuffer, bytes: Buffer): number {
  const copied = bytes.copy(input.target);
  input.arrived(copied);
  return copied;
}

function restOf(input: ReceiveBuffer): Buffer {
  return Buffer.from(input.bytes.subarray(input.start, input.end));
}

test('an idle connection has no buffer of its own', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  receive(input, pattern(100));
  input.start = 100;
  input.settle(28);
  t.is(input.target, pool.shared);
});

test('a rest survives what others receive meanwhile', (t) => {
  const pool = new BufferPool();
  const one = new ReceiveBuffer(pool);
  const other = new ReceiveBuffer(pool);
  receive(one, pattern(100, 1));
  one.start = 40;
  one.settle(4124);
  receive(other, pattern(100, 2));
  other.start = 100;
  other.settle(28);
  t.deepEqual(restOf(one), pattern(100, 1).subarray(40));
});

test('a request larger than the pool is gathered in a buffer made for it', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  const request = pattern(3 * POOL_BUFFER_BYTES);
  for (let at = 0; at < request.length; ) {
    input.settle(request.length);
    at += receive(input, request.subarray(at));
  }
  t.is(Buffer.compare(restOf(input), request), 0);
  t.true(input.isMadeFor(0, request.length));
  input.start = input.end;
  input.settle(28);
  t.is(input.bytes, pool.shared);
});

test('a rest that only waits leaves room for more', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  for (let i = 0; i < 5; i += 1) {
    receive(input, pattern(POOL_BUFFER_BYTES));
    input.settle(0);
    t.true(input.target.length > 0);
  }
});

test('bytes come out as they came in, wherever requests end and turns stop', (t) => {
  const turn = fc.record({ arrives: fc.integer({ min: 1, max: 700_000 }), takes: fc.nat(8) });
  const sizes = fc.array(fc.integer({ min: 28, max: 900_000 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 25 }), sizes, (turns, requestBytes) => {
      const pool = new BufferPool();
      const input = new ReceiveBuffer(pool);
      const neighbour = new ReceiveBuffer(pool);
      let sent = 0;
      let taken = 0;
      let requests = 0;
      for (const { arrives, takes } of turns) {
        const bytes = pattern(arrives, 0);
        for (let i = 0; i < arrives; i += 1) bytes[i] = (sent + i) % 251;
        sent += receive(input, bytes);
        let neededBytes = requestBytes[requests % requestBytes.length]!;
        for (let i = 0; i < takes && input.end - input.start >= neededBytes; i += 1) {
          for (let at = 0; at < neededBytes; at += 997) {
            t.is(input.bytes[input.start + at], (taken + at) % 251);
          }
          input.start += neededBytes;
          taken += neededBytes;
          requests += 1;
          neededBytes = requestBytes[requests % requestBytes.length]!;
        }
        input.settle(neededBytes);
        t.true(input.target.length > 0);
        receive(neighbour, pattern(5000, 9));
        neighbour.start = neighbour.end;
        neighbour.settle(28);
      }
    }),
    { numRuns: 60 },
  );
});
