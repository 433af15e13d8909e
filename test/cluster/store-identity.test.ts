/**
 * Whose data directory it is, and who may register under a node's name.
 */
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type CommandResult, runToEnd } from '../support/child-process.ts';
import { MAIN } from '../support/drover-server.ts';
import { Etcd } from '../support/etcd.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { eventually } from '../support/time-limit.ts';
import { GatewayProcess } from './gateway-process.ts';
import { StoreProcess } from './store-process.ts';

const LIMIT_MS = 60_000;

interface Scene {
  readonly folder: string;
  readonly control: string;
  readonly store: StoreProcess;
}

async function scene(t: ExecutionContext): Promise<Scene> {
  t.timeout(200_000);
  const folder = await temporaryFolder(t);
  const control = `etcd://${(await Etcd.start(t)).endpoint}`;
  const dataDirectory = join(folder, 'one');
  const options = { id: 'one', control, dataDirectory, hasRoad: false };
  return { folder, control, store: await StoreProcess.start(t, options) };
}

function store(control: string, id: string, dataDirectory: string): Promise<CommandResult> {
  const args = ['store', '--id', id, '--data', dataDirectory, '--listen', '127.0.0.1:0'];
  return runToEnd(LIMIT_MS, process.execPath, [MAIN, ...args, '--control', control]);
}

test.serial('a directory of another node, or of another cluster, is refused', async (t) => {
  const { folder, control, store: one } = await scene(t);
  await one.stop();
  const renamed = await store(control, 'two', join(folder, 'one'));
  t.is(renamed.code, 1);
  t.regex(renamed.stderr, /belongs to node one, not to node two/);
  const other = `etcd://${(await Etcd.start(t)).endpoint}`;
  const moved = await store(other, 'one', join(folder, 'one'));
  t.is(moved.code, 1);
  t.regex(moved.stderr, /belongs to cluster/);
  await one.startAgain();
});

test.serial('a node that another process registers as ends, and says why', async (t) => {
  const { folder, control, store: one } = await scene(t);
  const options = { id: 'one', control, dataDirectory: join(folder, 'two'), hasRoad: false };
  const second = await StoreProcess.start(t, options);
  const { code, stderr } = await one.ended();
  t.is(code, 1);
  t.regex(stderr, /another process has registered as node one/);
  await second.stop();
});

test.serial('a gateway waits for the nodes that its volumes need', async (t) => {
  const { folder, control } = await scene(t);
  const options = { id: 'g', folder, control, args: ['--volume', 'a=1G'] };
  const gateway = await GatewayProcess.start(t, options, async (program) => {
    await program.printed(/waiting for 3 store nodes, 1 are registered/, LIMIT_MS);
    for (const id of ['two', 'three']) {
      const dataDirectory = join(folder, id);
      await StoreProcess.start(t, { id, control, dataDirectory, hasRoad: false });
    }
  });
  const { volumes, nodes } = await gateway.status();
  t.deepEqual([...(volumes[0]?.replicas ?? [])].map(({ nodeId }) => nodeId).sort(), [
    'one',
    'three',
    'two',
  ]);
  await eventually('all nodes are up', LIMIT_MS, async () => {
    return (await gateway.status()).nodes.every(({ state }) => state === 'up');
  });
  t.is(nodes.length, 3);
  await gateway.stop();
});
