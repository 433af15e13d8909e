/**
 * A Docker daemon for a test: the machine's own if one runs, else one that the test starts.
 *
 * Owns: that daemon, its folder, its bridge and its address ranges, which are no other daemon's:
 * two of them with the usual `docker0` would give the same addresses to their containers.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run, runToEnd, startProgram } from '../support/child-process.ts';
import { type TestScope, temporaryFolder } from '../support/temp-folder.ts';

const LIMIT_MS = 20_000;
const START_LIMIT_MS = 60_000;

async function answers(dockerHost: string): Promise<boolean> {
  const env = { DOCKER_HOST: dockerHost };
  const { code } = await runToEnd(LIMIT_MS, 'docker', ['version'], { env });
  return code === 0;
}

/** What the daemon mounted below its folder and left, so that the folder can be removed. */
async function unmountBelow(folder: string): Promise<void> {
  const mounts = await run(LIMIT_MS, 'findmnt', ['--list', '--noheadings', '--output', 'TARGET']);
  const left = mounts.split('\n').filter((target) => target.startsWith(`${folder}/`));
  for (const target of left.toReversed()) await run(LIMIT_MS, 'umount', [target]);
}

/** A daemon leaves its bridge's firewall rules when it ends. */
async function deleteRules(bridge: string): Promise<void> {
  for (const table of ['filter', 'nat']) {
    const rules = (await run(LIMIT_MS, 'iptables', ['--table', table, '--list-rules'])).split('\n');
    for (const rule of rules) {
      const [append, ...rest] = rule.split(' ');
      if (append !== '-A' || !rest.includes(bridge)) continue;
      await run(LIMIT_MS, 'iptables', ['--table', table, '-D', ...rest]);
    }
  }
}

async function startDaemon(t: TestScope): Promise<string> {
  const folder = await temporaryFolder(t);
  t.teardown(() => unmountBelow(folder));
  await mkdir(join(folder, 'exec'));
  const host = `unix://${join(folder, 'docker.sock')}`;
  const bridge = `drover${process.pid}`;
  const network = `10.${200 + ((process.pid >> 8) % 50)}.${process.pid % 256}`;
  await run(LIMIT_MS, 'ip', ['link', 'add', bridge, 'type', 'bridge']);
  t.teardown(async () => {
    await deleteRules(bridge);
    await run(LIMIT_MS, 'ip', ['link', 'delete', bridge]);
  });
  await run(LIMIT_MS, 'ip', ['address', 'add', `${network}.1/25`, 'dev', bridge]);
  await run(LIMIT_MS, 'ip', ['link', 'set', bridge, 'up']);
  const daemon = startProgram(t, 'dockerd', [
    ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec')],
    ...['--pidfile', join(folder, 'pid'), '--host', host, '--bridge', bridge],
    ...['--default-address-pool', `base=${network}.128/25,size=27`],
  ]);
  t.teardown(async () => {
    daemon.kill('SIGTERM');
    await daemon.ended(START_LIMIT_MS);
  });
  await daemon.printed(/API listen on/, START_LIMIT_MS);
  return host;
}

/** Resolves to the daemon's address, as the environment variable `DOCKER_HOST` holds it. */
export async function dockerHost(t: TestScope): Promise<string> {
  const usual = process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock';
  return (await answers(usual)) ? usual : startDaemon(t);
}
