/**
 * `npm run cluster`: what it starts, writes down, and ends.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { run, startProgram } from '../support/child-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { eventually } from '../support/time-limit.ts';
import { freePort } from './store-process.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/cluster.ts', import.meta.url));
const LIMIT_MS = 100_000;

interface ClusterFile {
  readonly processes: readonly {
    readonly name: string;
    readonly pid: number;
    readonly nbd?: string;
    readonly addresses: Readonly<Record<string, string>>;
  }[];
}

/** Twelve ports in a row; whoever else takes one meanwhile fails the test. */
async function portBase(): Promise<number> {
  return Math.min(await freePort(), 65_500);
}

/** False for one that has ended, also where nobody has taken note of its end yet. */
function isAlive(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
}

test('a cluster starts, goes on without a process, takes it back, and ends as a whole', async (t) => {
  t.timeout(280_000);
  const folder = join(await temporaryFolder(t), 'c');
  const args = [SCRIPT, '--dir', folder, '--port-base', String(await portBase())];
  const cluster = startProgram(t, process.execPath, [...args, '--volume', 'disk0=64M']);
  const read = async () =>
    JSON.parse(await readFile(join(folder, 'cluster.json'), 'utf8')) as ClusterFile;
  t.teardown(async () => {
    // Its processes outlive one that failed.
    const left = await read().catch(() => ({ processes: [] }));
    for (const { pid } of left.processes) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  await cluster.printed(/Ctrl-C ends all of them/, LIMIT_MS);
  const { processes } = await read();
  const names = processes.map(({ name }) => name);
  t.deepEqual(names, ['etcd', 'store1', 'store2', 'store3', 'gateway1', 'gateway2']);
  for (const { pid } of processes) t.true(cluster.stdout.includes(`pid ${pid}`));
  const gateways = processes.filter(({ nbd }) => nbd !== undefined);
  for (const { nbd } of gateways) {
    t.is((await run(LIMIT_MS, 'nbdinfo', ['--size', `nbd://${nbd}/disk0`])).trim(), '67108864');
  }

  const store = processes.find(({ name }) => name === 'store2')!;
  process.kill(store.pid, 'SIGKILL');
  await eventually('the end of store2', 10_000, () => !isAlive(store.pid));
  const uri = `nbd://${gateways[0]!.nbd}/disk0`;
  await run(LIMIT_MS, 'qemu-io', ['-f', 'raw', '-c', 'write -P 3 0 1M', '-c', 'flush', uri]);
  await run(LIMIT_MS, process.execPath, [SCRIPT, '--dir', folder, '--start', 'store2']);
  const again = (await read()).processes.find(({ name }) => name === 'store2')!;
  t.not(again.pid, store.pid);
  await eventually('the copy of store2', 60_000, async () => {
    const response = await fetch(`http://${gateways[0]!.addresses['http']}/v1/status`);
    const { volumes } = (await response.json()) as { volumes: { inSyncCopies: number }[] };
    return volumes[0]!.inSyncCopies === 3;
  });

  cluster.kill('SIGINT');
  t.is((await cluster.ended(LIMIT_MS)).code, 0);
  const pids = [...processes.map(({ pid }) => pid), again.pid];
  t.deepEqual(pids.filter(isAlive), []);
});
