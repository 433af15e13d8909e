/**
 * The metrics of a real server, and the page that documents them.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Registry } from 'prom-client';
import { registerFamilies } from '../../../../server/http/metrics/metric-family.ts';
import { peerMetrics } from '../../../../server/http/metrics/peer-metrics.ts';
import { peerServerMetrics } from '../../../../server/http/metrics/peer-server-metrics.ts';
import type { PeerServerStats } from '../../../../store/peer/peer-server.ts';
import { PeerClientStats } from '../../../../store/peer/peer-stats.ts';
import { run, runToEnd } from '../../../support/child-process.ts';
import { DroverServer } from '../../../support/drover-server.ts';
import { temporaryFolder } from '../../../support/temp-folder.ts';

const LIMIT_MS = 60_000;
const DOCUMENT = join(import.meta.dirname, '..', '..', '..', '..', 'docs', 'metrics.md');

async function serve(t: ExecutionContext): Promise<DroverServer> {
  t.timeout(180_000);
  const folder = await temporaryFolder(t);
  return DroverServer.start(t, {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=64M'],
    cache: '64M',
  });
}

async function scrape(server: DroverServer): Promise<string> {
  const response = await fetch(`${server.httpUrl}/metrics`);
  if (!response.ok) throw new Error(`/metrics answered with ${response.status}`);
  return response.text();
}

/** The value of the one sample that starts so. */
function sample(text: string, start: string): number {
  const lines = text.split('\n').filter((line) => line.startsWith(`${start} `));
  if (lines.length !== 1) throw new Error(`${lines.length} samples ${start}`);
  return Number(lines[0]!.slice(start.length));
}

interface Family {
  readonly type: string;
  readonly help: string;
  readonly labels: Set<string>;
}

function familiesOf(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  const helps = new Map<string, string>();
  for (const line of text.split('\n')) {
    const help = line.match(/^# HELP (\S+) (.*)$/);
    const type = line.match(/^# TYPE (\S+) (\S+)$/);
    const labelled = line.match(/^([a-z_0-9]+)\{(.*)\} /i);
    if (help !== null) helps.set(help[1]!, help[2]!);
    if (type !== null) {
      families.set(type[1]!, { type: type[2]!, help: helps.get(type[1]!)!, labels: new Set() });
    }
    if (labelled !== null) {
      const name = labelled[1]!;
      const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
      for (const [, label] of labelled[2]!.matchAll(/([a-z_]+)="/g)) family!.labels.add(label!);
    }
  }
  return families;
}

/**
 * The rows of the page's tables, as they must be for these metrics. The labels of those of the
 * process belong to prom-client and are not listed.
 */
function documentRows(text: string): string[] {
  return [...familiesOf(text)].map(([name, { type, help, labels }]) => {
    if (!name.startsWith('drover_')) return `| \`${name}\` | ${type} | ${help} |`;
    const names = [...labels].filter((label) => label !== 'le').map((label) => `\`${label}\``);
    return `| \`${name}\` | ${type} | ${names.join(' ')} | ${help} |`;
  });
}

/** What only the programs of a cluster have: gateways of nodes, nodes of gateways. */
function clusterMetrics(): Promise<string> {
  const registry = new Registry();
  const peer = { nodeId: 'store1', stats: new PeerClientStats(), outstanding: 0 };
  const served: PeerServerStats = {
    ...{ connections: 1, connectionsAccepted: 1, connectionsRefused: 0, connectionsBroken: 0 },
    ...{ requests: 0, errors: 0, corruptRequests: 0, heldBytes: 0, halts: 0 },
    ...{ receivedBytes: 0, sentBytes: 0 },
  };
  registerFamilies(registry, [...peerMetrics(() => [peer]), ...peerServerMetrics(() => served)]);
  return registry.metrics();
}

test('promtool finds nothing to complain of in those of a cluster', async (t) => {
  const input = await clusterMetrics();
  const result = await runToEnd(LIMIT_MS, 'promtool', ['check', 'metrics'], { input });
  t.deepEqual([result.code, result.stdout, result.stderr], [0, '', '']);
});

test('promtool finds nothing to complain of', async (t) => {
  const text = await scrape(await serve(t));
  const result = await runToEnd(LIMIT_MS, 'promtool', ['check', 'metrics'], { input: text });
  t.deepEqual([result.code, result.stdout, result.stderr], [0, '', '']);
});

test('docs/metrics.md lists every metric as it is', async (t) => {
  const server = await serve(t);
  // A volume shows while it is attached.
  await run(LIMIT_MS, 'nbdinfo', ['--size', server.uri()]);
  const document = await readFile(DOCUMENT, 'utf8');
  const rows = document.split('\n').filter((line) => line.startsWith('| `'));
  const expected = [...documentRows(await scrape(server)), ...documentRows(await clusterMetrics())];
  t.deepEqual(rows.sort(), expected.sort());
});

test('what clients do is counted', async (t) => {
  const server = await serve(t);
  const commands = ['write -P 1 0 1M', 'write -P 2 0 64k', 'flush', 'read 0 1M'];
  const flags = commands.flatMap((command) => ['-c', command]);
  await run(LIMIT_MS, 'qemu-io', ['-f', 'raw', '-t', 'writeback', ...flags, server.uri()]);
  const text = await scrape(server);
  const written = sample(text, 'drover_nbd_request_bytes_total{command="write"}');
  t.is(written, 1024 * 1024 + 64 * 1024);
  t.is(sample(text, 'drover_nbd_requests_total{command="write"}'), 2);
  t.is(sample(text, 'drover_nbd_request_duration_seconds_count{command="write"}'), 2);
  t.true(sample(text, 'drover_nbd_requests_total{command="flush"}') >= 1);
  t.true(sample(text, 'drover_flush_duration_seconds_count') >= 1);
  t.is(sample(text, 'drover_cache_dirty_bytes'), 0);
  t.true(sample(text, 'drover_cache_blocks{state="clean"}') >= 256);
  t.true(sample(text, 'drover_cache_hits_total') >= 256);
  const node = text.match(/drover_engine_up(\{node="[^"]+"\}) 1/)![1]!;
  t.true(sample(text, `drover_engine_appends_total${node}`) >= 1);
  t.true(sample(text, `drover_engine_group_commit_records_count${node}`) >= 1);
  t.is(sample(text, `drover_engine_live_bytes${node}`), 1024 * 1024);
});
