import test from 'ava';
import { clusterIdOf, joinCluster } from '../../../../server/cli/nodes/cluster-id.ts';
import { isDroverError } from '../../../../store/runtime/drover-error.ts';
import { systemRandom } from '../../../../store/runtime/random.ts';
import { realDisk } from '../../../../store/runtime/real-disk.ts';
import { MemoryCopy, openOn } from '../../../store/control/memory-copy.ts';
import { temporaryFolder } from '../../../support/temp-folder.ts';

test('a cluster gets one name, whoever asks first', async (t) => {
  const control = await openOn([new MemoryCopy('only')]);
  const [first, second] = await Promise.all([
    clusterIdOf(control, systemRandom),
    clusterIdOf(control, systemRandom),
  ]);
  t.is(first, second);
  t.regex(first, /^[0-9a-f]{32}$/);
});

test('a directory stays with its cluster: another one would drop what it holds', async (t) => {
  const folder = await temporaryFolder(t);
  const [own, other] = ['a'.repeat(32), 'b'.repeat(32)];
  await joinCluster(realDisk, folder, own);
  await joinCluster(realDisk, folder, own);
  const error = await t.throwsAsync(joinCluster(realDisk, folder, other));
  t.true(isDroverError(error, 'invalid'));
  t.regex(error.message, /belongs to cluster aaaa/);
});
