/**
 * Two gateways and one volume: who may write, what a deposed one may still answer, and what is
 * left when one dies in the middle of writes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { runToEnd } from '../support/child-process.ts';
import { ConnectionLost, FLAG_FUA, type NbdClient, NbdReplyError } from '../support/nbd-client.ts';
import { randomForTest } from '../support/seeded-random.ts';
import { eventually, withinTime } from '../support/time-limit.ts';
import { ClusterScene } from './cluster-scene.ts';
import { Flood } from './flood.ts';
import { gatewayKills } from './gateway-kills.ts';
import type { GatewayProcess } from './gateway-process.ts';

const BLOCK = 4096;
const ANSWER_LIMIT_MS = 30_000;
/** The time to live of a gateway's session, and what noticing its end takes. */
const TAKE_OVER_LIMIT_MS = 40_000;
const KILLS = 3;
const BUSY_MS = 500;
/** After this a process that was told to stop has stopped. */
const FROZEN_MS = 200;
const FLOODS = 3;
const BUSY_CLIENTS = 16;

/** Resolves to the client of whoever has the volume when the lease of another is over. */
async function attachWhenFree(scene: ClusterScene): Promise<NbdClient> {
  let client: NbdClient | undefined;
  await eventually('the take-over', TAKE_OVER_LIMIT_MS, async () => {
    try {
      client = await scene.gateway.attach();
      return true;
    } catch {
      await sleep(200);
      return false;
    }
  });
  return client!;
}

/**
 * Freezes a gateway in the middle of its work, and asks it for more: when it wakes up it goes on
 * where it was and finds these requests in its sockets, before any timer or the control plane can
 * tell it that its lease is over. All of them could be answered from the cache.
 */
async function freezeBusy(gateway: GatewayProcess, clients: readonly NbdClient[]) {
  const floods = await Promise.all(Array.from({ length: FLOODS }, () => Flood.start(gateway)));
  let isFrozen = false;
  const readAgainAndAgain = async (client: NbdClient): Promise<void> => {
    while (!isFrozen) await client.read(0, BLOCK);
  };
  // What was asked before the freeze may end either way.
  const reading = Promise.allSettled(clients.map(readAgainAndAgain));
  await sleep(BUSY_MS);
  await gateway.program.freeze();
  isFrozen = true;
  for (const flood of floods) flood.stop();
  await sleep(FROZEN_MS);
  const asked = clients.flatMap((client) => [
    client.read(0, BLOCK),
    client.write(4 * BLOCK, Buffer.alloc(BLOCK, 3)),
  ]);
  const answers = Promise.allSettled(asked);
  return async () => {
    await reading;
    for (const flood of floods) flood.destroy();
    return answers;
  };
}

test.serial('a gateway that was frozen is deposed: nothing is acknowledged by it', async (t) => {
  t.timeout(200_000);
  const scene = await ClusterScene.start(t, randomForTest(t));
  const first = scene.gateway;
  const writing = await first.attach();
  const reading = await first.attach();
  await writing.write(0, Buffer.alloc(BLOCK, 1));
  await writing.flush();
  t.is((await reading.read(0, BLOCK))[0], 1);
  const busy = await Promise.all(Array.from({ length: BUSY_CLIENTS }, () => first.attach()));
  // Dirty in the cache, never flushed.
  await writing.write(BLOCK, Buffer.alloc(BLOCK, 1));
  const askedInSleep = await freezeBusy(first, busy);

  scene.gateway = await scene.startGateway('gateway2');
  const successor = await attachWhenFree(scene);
  await successor.write(0, Buffer.alloc(BLOCK, 2));
  await successor.write(2 * BLOCK, Buffer.alloc(BLOCK, 2));
  await successor.flush();

  // And of a connection that was idle, when the volume is another's.
  const answers = Promise.allSettled([
    writing.write(0, Buffer.alloc(BLOCK, 3), FLAG_FUA),
    writing.flush(),
    reading.read(0, BLOCK),
    reading.read(BLOCK, BLOCK),
    writing.write(3 * BLOCK, Buffer.alloc(BLOCK, 3)),
  ]);
  first.program.thaw();
  const all = Promise.all([answers, askedInSleep()]);
  for (const answer of (await withinTime('the answers', ANSWER_LIMIT_MS, all)).flat()) {
    t.is(answer.status, 'rejected', 'a deposed gateway answered with success');
    const { reason } = answer as PromiseRejectedResult;
    t.true(reason instanceof NbdReplyError || reason instanceof ConnectionLost, String(reason));
  }
  t.is((await successor.read(0, BLOCK))[0], 2);
  t.is((await successor.read(2 * BLOCK, BLOCK))[0], 2);
  for (const block of [3, 4]) t.is((await successor.read(block * BLOCK, BLOCK))[0], 0);
  await scene.identical();
  t.is(await first.metric('drover_lease_losses_total'), 1);
  t.true((await first.metric('drover_discarded_bytes_total')) > 0);
  await successor.disconnect();

  // The deposed one may have the volume again, as anybody else.
  scene.gateway = first;
  const again = await attachWhenFree(scene);
  t.is((await again.read(0, BLOCK))[0], 2);
  await again.disconnect();
});

test.serial(
  'a volume in use elsewhere is refused with its holder, and free soon after',
  async (t) => {
    t.timeout(200_000);
    const scene = await ClusterScene.start(t, randomForTest(t));
    const second = await scene.startGateway('gateway2');
    const client = await scene.gateway.attach();
    await client.write(0, Buffer.alloc(BLOCK, 7));
    const refused = await runToEnd(ANSWER_LIMIT_MS, 'nbdinfo', ['--size', second.uri()]);
    t.not(refused.code, 0);
    t.regex(second.program.stderr, /volume disk0 is in use by gateway1/);
    // Listing the volumes needs no lease.
    const list = await runToEnd(ANSWER_LIMIT_MS, 'nbdinfo', [
      '--list',
      '--no-content',
      second.uri(''),
    ]);
    t.regex(list.stdout, /disk0/, list.stderr);
    await client.disconnect();
    const info = await runToEnd(ANSWER_LIMIT_MS, 'nbdinfo', ['--size', second.uri()]);
    t.is(info.code, 0, info.stderr);
    const other = await second.attach();
    t.is((await other.read(0, BLOCK))[0], 7);
    await other.disconnect();
  },
);

test.serial(
  'a gateway killed with writes in flight leaves copies that become identical',
  async (t) => {
    t.timeout(280_000);
    const counts = await gatewayKills(t, KILLS);
    t.true(counts.write > 0 && counts.flush > 0);
  },
);

test.serial('a volume deleted while a node is down is gone from it within a minute', async (t) => {
  t.timeout(200_000);
  const scene = await ClusterScene.start(t, randomForTest(t), {
    volumes: ['disk0=64M', 'old=64M'],
  });
  const { gateway, stores } = scene;
  const client = await gateway.attach('old');
  await client.write(0, Buffer.alloc(8 * 1024 * 1024, 5));
  await client.flush();
  await client.disconnect();
  const store = stores[0]!;
  await store.kill();
  await gateway.get('/v1/volumes/old?force=true', { method: 'DELETE' });
  await store.startAgain();
  const objects = async () => {
    const { nodes } = await gateway.status();
    return nodes.map((node) => node.objectCount);
  };
  await eventually('all nodes are empty', 60_000, async () => {
    return (await objects()).every((count) => count === 0);
  });
  // It does not come back, under its name neither.
  await gateway.get('/v1/volumes', {
    method: 'POST',
    body: JSON.stringify({ name: 'old', sizeBytes: 64 * 1024 * 1024 }),
    headers: { 'content-type': 'application/json' },
  });
  const again = await gateway.attach('old');
  t.deepEqual(await again.read(0, BLOCK), Buffer.alloc(BLOCK));
  await again.disconnect();
  t.deepEqual(await objects(), [0, 0, 0]);
});
