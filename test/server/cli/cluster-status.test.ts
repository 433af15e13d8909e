import test, { type ExecutionContext } from 'ava';
import { ClusterStatusView } from '../../../server/cli/cluster-status.ts';
import { HOLDER_REPORTS_PREFIX } from '../../../server/cli/nodes/holder-report.ts';
import { heldCopies } from '../../../server/cli/volume-copies.ts';
import { leaseKey, newReplicaSet } from '../../../store/control/replica-set-record.ts';
import type { VolumeRecord } from '../../../store/control/volume-record.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { MemoryCopy, openOn } from '../../store/control/memory-copy.ts';
import { FakeReplication } from '../volume/fake-volume.ts';
import { statusOf } from './nodes/held-status.ts';

const NODES = ['n1', 'n2', 'n3'].map((nodeId) => ({ nodeId }));
const RECORD: VolumeRecord = {
  ...{ id: 7, name: 'disk0', sizeBytes: 4096, objectBytes: 65536, layerId: 7, epoch: 1 },
  ...{ isReadOnly: false, replicas: { ...newReplicaSet(NODES), inSync: ['n1', 'n2'] } },
};

function attachedHere(objectsBehind: number) {
  const replication = new FakeReplication('disk0');
  replication.status = () => statusOf('disk0', objectsBehind);
  return [{ name: 'disk0', replication }];
}

interface SceneOptions {
  readonly lease?: { readonly epoch: number; readonly holderId: string };
  readonly reporter?: string;
  readonly attached?: ReturnType<typeof attachedHere>;
  readonly tended?: ReturnType<typeof attachedHere>;
}

async function volumeSeen(t: ExecutionContext, options: SceneOptions) {
  const control = await openOn([new MemoryCopy('only')]);
  t.teardown(() => control.close());
  const { lease, reporter, attached = [], tended = [] } = options;
  const put = [];
  if (lease !== undefined)
    put.push({ key: leaseKey(7), value: { ...lease, holderKind: 'gateway' } });
  if (reporter !== undefined) {
    const value = [heldCopies(reporter, statusOf('disk0', 120))];
    put.push({ key: `${HOLDER_REPORTS_PREFIX}${reporter}`, value });
  }
  await control.commit({ expect: [], put });
  const view = new ClusterStatusView({
    ...{ control, holderId: 'g1', nodes: () => [], tended: () => tended },
    volumes: {
      attached: () => attached,
      records: () => [RECORD],
      verify: async () => {
        throw new DroverError('busy', 'volume disk0 is in use by g2');
      },
    },
  });
  return { view, volume: (await view.status()).volumes[0]! };
}

test('of a volume that nobody has, what its record says is told', async (t) => {
  const { volume } = await volumeSeen(t, {});
  t.like(volume, { id: 7, holder: null, inSyncCopies: 2, objectsBehind: null, copies: 3 });
});

test('of a volume that another process has, its report is told', async (t) => {
  const lease = { epoch: 1, holderId: 'g2' };
  const { volume } = await volumeSeen(t, { lease, reporter: 'g2' });
  t.like(volume, { id: 7, sizeBytes: 4096, holder: 'g2', objectsBehind: 120 });
  t.is(volume.areWritesServed, true);
  t.like(volume.replicas[2], { nodeId: 'n3', state: 'copying', objectsBehind: 120 });
});

test('the report of an earlier holder, or of an earlier lease, is not told', async (t) => {
  for (const lease of [
    { epoch: 1, holderId: 'g3' },
    { epoch: 2, holderId: 'g2' },
  ]) {
    const { volume } = await volumeSeen(t, { lease, reporter: 'g2' });
    t.like(volume, { holder: lease.holderId, objectsBehind: null, areWritesServed: null });
  }
});

test('a volume that this process has or tends is told as it is now', async (t) => {
  const lease = { epoch: 1, holderId: 'steward' };
  const attached = await volumeSeen(t, { attached: attachedHere(5), reporter: 'g1' });
  t.like(attached.volume, { holder: 'g1', objectsBehind: 5 });
  const tended = await volumeSeen(t, { lease, tended: attachedHere(9) });
  t.like(tended.volume, { holder: 'steward', objectsBehind: 9 });
});

test('a comparison of a volume that another process has says whom to ask', async (t) => {
  const { view } = await volumeSeen(t, {});
  const error = await t.throwsAsync(view.verify('disk0', { isDeep: false }));
  t.regex(error.message, /in use by g2; .* name it with --server$/);
});
