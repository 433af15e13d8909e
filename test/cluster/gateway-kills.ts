/**
 * A gateway is killed in the middle of writes to three nodes, again and again on the same data.
 *
 * Owns: the rounds. After each, the next attach makes all copies identical, and every block is
 * what the last answered flush or a later write made it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { randomForTest } from '../support/seeded-random.ts';
import type { TestScope } from '../support/temp-folder.ts';
import { ClusterScene } from './cluster-scene.ts';

export interface KillCounts {
  write: number;
  flush: number;
  /** Objects whose copies differed at the next attach: what was in flight to the nodes. */
  reconciled: number;
}

/** Half of the operations are durable, so that writes are always on their way to the nodes. */
const MIX = { flush: 0.1, zero: 0.06, read: 0.05, fua: 0.5 };

export async function gatewayKills(t: TestScope, rounds: number): Promise<KillCounts> {
  const random = randomForTest(t);
  const scene = await ClusterScene.start(t, random);
  const total: KillCounts = { write: 0, flush: 0, reconciled: 0 };
  for (let round = 0; round < rounds; round++) {
    await scene.attach();
    const writer = scene.load(MIX);
    await sleep(random.between(100, 900));
    await scene.gateway.kill();
    await writer.ended();
    scene.model.crashed();
    total.write += writer.counts.write;
    total.flush += writer.counts.flush;
    // Under the same name it need not wait for the lease of the dead one to end.
    scene.gateway = await scene.startGateway('gateway1');
    await scene.attach();
    await scene.readAfterCrash();
    await scene.identical();
    total.reconciled += await scene.gateway.metric(
      'drover_reconciled_objects_total',
      'volume="disk0"',
    );
    await scene.readAfterCrash();
    for (const client of scene.clients) await client.disconnect();
  }
  t.log(`${rounds} kills, ${JSON.stringify(total)}`);
  return total;
}
