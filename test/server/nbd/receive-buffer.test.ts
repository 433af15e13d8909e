import test from 'ava';
import fc from 'fast-check';
import { BufferPool, RECEIVE_BYTES } from '../../../server/nbd/buffer-pool.ts';
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

/** Receives `bytes` as a request of that length, and does not settle after the last of them. */
function receiveRequest(input: ReceiveBuffer, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) {
    input.settle(bytes.length);
    at += receive(input, bytes.subarray(at));
  }
}

test('a request larger than the shared buffer is gathered in one that holds it', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  const request = pattern(3 * RECEIVE_BYTES);
  receiveRequest(input, request);
  t.is(Buffer.compare(restOf(input), request), 0);
  input.start = input.end;
  input.settle(28);
  t.is(input.target, pool.shared);
});

test('of a request that takes most of a buffer no more is received than what is missing', (t) => {
  for (const requestBytes of [RECEIVE_BYTES - 100_000, RECEIVE_BYTES, 3 * RECEIVE_BYTES]) {
    const input = new ReceiveBuffer(new BufferPool());
    receive(input, pattern(60_000));
    input.settle(requestBytes);
    t.is(input.target.length, requestBytes - 60_000);
  }
});

test('behind the start of a smaller request more of them are received', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  receive(input, pattern(1000));
  input.settle(4124);
  t.true(input.target.length > RECEIVE_BYTES / 2);
});

test('a buffer that is handed over is not used again until it is given back', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  const request = pattern(3 * RECEIVE_BYTES);
  receiveRequest(input, request);
  const loan = input.handOver(0, request.length)!;
  t.is(Buffer.compare(loan.subarray(0, request.length), request), 0);
  input.start = input.end;
  input.settle(28);
  t.is(input.target, pool.shared);
  receiveRequest(input, request);
  t.not(input.bytes, loan);
  pool.give(loan);
  t.is(pool.take(request.length), loan);
});

test('a buffer into which more may come is not handed over', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  const request = pattern(RECEIVE_BYTES);
  receiveRequest(input, request);
  // The request has to wait; its end is not the end of what the socket was told.
  input.settle(0);
  t.is(input.handOver(input.start, input.end), undefined);
});

test('neither the shared buffer nor one much larger than the request is handed over', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  receive(input, pattern(pool.shared.length));
  t.is(input.handOver(0, input.end), undefined);
  input.start = input.end;
  input.settle(28);
  const request = pattern(RECEIVE_BYTES / 3);
  receive(input, request.subarray(0, 10));
  input.settle(request.length);
  receive(input, request.subarray(10));
  t.is(input.handOver(input.start, input.end), undefined);
});

test('a rest that only waits leaves room for more', (t) => {
  const pool = new BufferPool();
  const input = new ReceiveBuffer(pool);
  for (let i = 0; i < 5; i += 1) {
    receive(input, pattern(RECEIVE_BYTES));
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
