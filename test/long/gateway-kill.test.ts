import test from 'ava';
import { gatewayKills } from '../cluster/gateway-kills.ts';

test('a gateway killed fifty times with writes in flight leaves nothing wrong', async (t) => {
  t.timeout(3_600_000);
  const counts = await gatewayKills(t, 50);
  t.true(counts.write > 0 && counts.flush > 0);
  t.true(counts.reconciled > 0, 'no kill found a write on its way to the nodes');
});
