import test from 'ava';
import type { NetworkStream, StreamEvents } from '../../../store/runtime/network.ts';
import { realNetwork } from '../../../store/runtime/real-network.ts';

interface Ends {
  readonly client: NetworkStream;
  readonly server: NetworkStream;
  readonly close: () => Promise<void>;
}

const nothing: StreamEvents = { onData: () => {}, onDrain: () => {}, onClose: () => {} };

async function connected(
  client: Partial<StreamEvents>,
  server: Partial<StreamEvents>,
): Promise<Ends> {
  const accepted = Promise.withResolvers<NetworkStream>();
  const listening = await realNetwork.listen({ host: '127.0.0.1', port: 0 }, (stream) => {
    accepted.resolve(stream);
    return { ...nothing, ...server };
  });
  const stream = await realNetwork.connect(listening.address, 1000, () => ({
    ...nothing,
    ...client,
  }));
  return { client: stream, server: await accepted.promise, close: () => listening.close() };
}

test('bytes arrive in order, both ways, from many buffers at once', async (t) => {
  const received: Buffer[] = [];
  const all = Promise.withResolvers<void>();
  let bytes = 0;
  const ends = await connected(
    {},
    {
      onData(chunk) {
        received.push(Buffer.from(chunk));
        bytes += chunk.length;
        if (bytes === 4_000_000) all.resolve();
      },
    },
  );
  const buffers = Array.from({ length: 400 }, (_, i) => Buffer.alloc(10_000, i));
  const sent = new Promise<void>((resolve) => ends.client.write(buffers, resolve));
  await Promise.all([all.promise, sent]);
  t.true(Buffer.concat(received).equals(Buffer.concat(buffers)));
  ends.client.destroy();
  await ends.close();
});

test('write says wait when the peer does not read, and drains when it does', async (t) => {
  const drained = Promise.withResolvers<void>();
  let bytes = 0;
  const ends = await connected(
    { onDrain: () => drained.resolve() },
    {
      onData(chunk) {
        bytes += chunk.length;
      },
    },
  );
  ends.server.pause();
  let written = 0;
  while (ends.client.write([Buffer.alloc(1_000_000)])) written += 1_000_000;
  written += 1_000_000;
  const pausedAt = bytes;
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(bytes, pausedAt, 'a paused stream delivers nothing');
  ends.server.resume();
  await drained.promise;
  while (bytes < written) await new Promise((resolve) => setTimeout(resolve, 5));
  t.is(bytes, written);
  ends.client.destroy();
  await ends.close();
});

test('destroy ends both sides once, and nothing is delivered after it', async (t) => {
  const events: string[] = [];
  const closed = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const ends = await connected(
    {
      onData: () => events.push('client data'),
      onClose: (error) => {
        events.push(`client closed ${error}`);
        closed[0]!.resolve();
      },
    },
    {
      onClose: (error) => {
        events.push(`server closed ${error}`);
        closed[1]!.resolve();
      },
    },
  );
  ends.server.write([Buffer.alloc(10)]);
  ends.client.destroy();
  ends.client.destroy();
  t.true(ends.client.write([Buffer.alloc(1)]));
  await Promise.all(closed.map(({ promise }) => promise));
  t.is(events.filter((event) => event === 'client closed undefined').length, 1);
  t.is(events.filter((event) => event.startsWith('server closed')).length, 1);
  t.false(events.includes('client data'));
  await ends.close();
});

test('a refused connection rejects with the reason', async (t) => {
  const listening = await realNetwork.listen({ host: '127.0.0.1', port: 0 }, () => nothing);
  await listening.close();
  const error = await t.throwsAsync(realNetwork.connect(listening.address, 1000, () => nothing));
  t.is((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
});

test('listening on a taken port rejects', async (t) => {
  const listening = await realNetwork.listen({ host: '127.0.0.1', port: 0 }, () => nothing);
  const error = await t.throwsAsync(realNetwork.listen(listening.address, () => nothing));
  t.is((error as NodeJS.ErrnoException).code, 'EADDRINUSE');
  await listening.close();
});

test('close of a listener waits for no stream', async (t) => {
  const ends = await connected({}, {});
  await ends.close();
  t.true(ends.client.write([Buffer.alloc(1)]), 'the stream is open still');
  ends.client.destroy();
  ends.server.destroy();
});
