/**
 * The compose cluster as a user brings it up: one story, told in tests that follow each other.
 */
import { randomBytes } from 'node:crypto';
import test from 'ava';
import { dashboardPanels, panelExpressions } from '../docker/dashboard.ts';
import { run, startProgram } from '../support/child-process.ts';
import { NbdClient } from '../support/nbd-client.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { buildBaseImages } from './base-images.ts';
import { ComposeCluster, DROVER_SERVICES, type GatewayAddress } from './compose-cluster.ts';
import { dockerHost as runningDocker } from './docker-daemon.ts';
import { FileScope } from './file-scope.ts';
import { pollUntil } from './poll.ts';
import { getJson, PrometheusApi } from './prometheus-api.ts';

const TEST_LIMIT_MS = 400_000;
const FIO_LIMIT_MS = 120_000;
const IMAGE_BYTES_MAX = 400 * 1024 * 1024;
/** Panels that are empty while nothing goes wrong. */
const EMPTY_WHEN_WELL = new Set(['Errors', 'Refused writes']);

const scope = new FileScope();
let cluster: ComposeCluster;
let prometheus: PrometheusApi;
let folder: string;

test.before(async () => {
  const dockerHost = await runningDocker(scope);
  const runName = `drovertest${process.pid}x${Date.now().toString(36)}`;
  const images = await buildBaseImages(scope, dockerHost, runName);
  cluster = await ComposeCluster.up(scope, { dockerHost, runName, images });
  prometheus = new PrometheusApi(cluster.prometheusUrl);
  folder = await temporaryFolder(scope);
});

test.beforeEach((t) => {
  t.timeout(TEST_LIMIT_MS);
});

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(await cluster.logs());
});

test.after.always(() => scope.end());

interface VerifyJob {
  readonly uri: string;
  readonly offset: string;
  /** Only verify what an earlier job of the same offset wrote. */
  readonly verifyOnly?: boolean;
}

/** Error: fio found a wrong block, or an I/O error. */
function fioVerify({ uri, offset, verifyOnly }: VerifyJob): Promise<string> {
  const options = ['--name=verify', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite'];
  const pattern = ['--bs=4k', '--size=64M', '--iodepth=16', '--verify=crc32c', '--randseed=7'];
  const end = ['--end_fsync=1', '--verify_state_save=0', '--verify_fatal=1'];
  const only = verifyOnly === true ? ['--verify_only=1'] : ['--do_verify=1'];
  const args = [...options, ...pattern, ...end, ...only, `--offset=${offset}`];
  return run(FIO_LIMIT_MS, 'fio', args, { cwd: folder });
}

interface VolumeStatus {
  readonly name: string;
  readonly inSyncCopies: number;
  readonly objectsBehind: number;
}

async function volumeStatus(): Promise<VolumeStatus | undefined> {
  const url = `${cluster.gateway1.http}/v1/status`;
  const { volumes } = await getJson<{ volumes: readonly VolumeStatus[] }>(url);
  return volumes.find((volume) => volume.name === 'disk0');
}

test.serial('every container becomes healthy, and none runs as root', async (t) => {
  for (const service of DROVER_SERVICES) {
    const health = () => cluster.inspect(service, '{{.State.Health.Status}}');
    await pollUntil(`${service} is healthy`, 90_000, health, (status) => status === 'healthy');
    t.is((await cluster.compose('exec', '-T', service, 'id', '-u')).trim(), '10809', service);
  }
});

test.serial('the image is small', async (t) => {
  const size = await cluster.docker('inspect', '--format', '{{.Size}}', cluster.droverImage);
  t.log(`${(Number(size) / 1e6).toFixed(0)} MB`);
  t.true(Number(size) < IMAGE_BYTES_MAX);
});

test.serial('a disk behind gateway 1 keeps what it is given, in three copies', async (t) => {
  const ready = () => fetch(`${cluster.gateway1.http}/readyz`).then((response) => response.ok);
  await pollUntil('gateway 1 is ready', 60_000, ready, (isReady) => isReady);
  await fioVerify({ uri: cluster.gateway1.uri, offset: '0' });
  t.is((await volumeStatus())?.inSyncCopies, 3);
});

test.serial('Prometheus scrapes every part of the cluster', async (t) => {
  const targets = await pollUntil(
    'every target is up',
    60_000,
    () => prometheus.targets(),
    (all) => all.every((target) => target.health === 'up'),
  );
  t.is(targets.length, 6);
  t.deepEqual(await prometheus.alerts('DroverCopyMissing'), []);
});

test.serial('every panel of the dashboard shows something while a client is at work', async (t) => {
  const { uri } = cluster.gateway1;
  const load = ['--name=load', '--ioengine=nbd', `--uri=${uri}`, '--rw=randrw', '--bs=4k'];
  const pace = ['--thread', '--rate_iops=200', '--fsync=32', '--time_based', '--runtime=600'];
  startProgram(t, 'fio', [...load, ...pace, '--offset=192M', '--size=64M'], { cwd: folder });
  for (const panel of await dashboardPanels()) {
    if (EMPTY_WHEN_WELL.has(panel.title)) continue;
    for (const expression of panelExpressions(panel)) {
      const count = await pollUntil(
        `${panel.title}: ${expression}`,
        30_000,
        () => prometheus.seriesCount(expression),
        (series) => series > 0,
      );
      t.true(count > 0);
    }
  }
});

test.serial('a stopped store ends cleanly, clients go on, and an alert fires', async (t) => {
  await cluster.stop('store2');
  t.is(await cluster.inspect('store2', '{{.State.ExitCode}}'), '0');
  await fioVerify({ uri: cluster.gateway1.uri, offset: '64M' });
  t.is((await volumeStatus())?.inSyncCopies, 2);
  const found = await pollUntil(
    'the alert for a missing copy fires',
    120_000,
    () => prometheus.alerts('DroverCopyMissing'),
    (alerts) => alerts.some((alert) => alert.state === 'firing'),
  );
  t.is(found[0]?.labels['volume'], 'disk0');
});

test.serial('a store that is started again catches up, and the alert clears', async (t) => {
  await cluster.start('store2');
  const inSync = await pollUntil(
    'the returned copy is in sync',
    90_000,
    volumeStatus,
    (status) => status?.inSyncCopies === 3 && status.objectsBehind === 0,
  );
  t.is(inSync?.objectsBehind, 0);
  const left = await pollUntil(
    'the alert clears',
    90_000,
    () => prometheus.alerts('DroverCopyMissing'),
    (found) => found.length === 0,
  );
  t.deepEqual(left, []);
});

function attach({ nbdPort }: GatewayAddress): Promise<NbdClient> {
  return NbdClient.attach({ kind: 'tcp', host: '127.0.0.1', port: nbdPort }, 'disk0');
}

test.serial('a stopped gateway flushes, and the other one has all data', async (t) => {
  const payload = randomBytes(1024 * 1024);
  const writer = await attach(cluster.gateway1);
  await writer.write(256 * 1024 * 1024, payload);
  // The client is still there and has not flushed: only SIGTERM makes its write durable.
  await cluster.stop('gateway1');
  t.is(await cluster.inspect('gateway1', '{{.State.ExitCode}}'), '0');

  const reader = await attach(cluster.gateway2);
  t.true(payload.equals(await reader.read(256 * 1024 * 1024, payload.length)));
  await reader.disconnect();
  const { uri } = cluster.gateway2;
  await fioVerify({ uri, offset: '0', verifyOnly: true });
  await fioVerify({ uri, offset: '64M', verifyOnly: true });
  await fioVerify({ uri, offset: '128M' });
});
