/**
 * The processes of a cluster on one machine: names, ports and command lines.
 *
 * Owns: which port is whose. Ports follow `portBase` in this order:
 * etcd's clients, etcd's peers, three stores' peers, three stores' HTTP, gateway1's HTTP and NBD,
 * gateway2's NBD and HTTP: with the base 10800, gateway1 serves NBD on its usual port 10809.
 */
import path from 'node:path';
import { NODE_FLAGS } from '../server/cli/node-flags.ts';

export const PORT_BASE_DEFAULT = 10_800;
export const STORE_COUNT = 3;

export interface ProcessPlan {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Where it listens, by purpose. */
  readonly addresses: Readonly<Record<string, string>>;
  /** The URL that answers with success when the process is ready. */
  readonly readyUrl: string;
}

export interface ClusterOptions {
  readonly directory: string;
  readonly portBase: number;
  /** `NAME=SIZE` each. */
  readonly volumes: readonly string[];
}

const MAIN = path.join(import.meta.dirname, '..', 'server', 'cli', 'main.ts');

function etcdPlan(options: ClusterOptions): ProcessPlan {
  const clients = `127.0.0.1:${options.portBase}`;
  const peers = `127.0.0.1:${options.portBase + 1}`;
  return {
    name: 'etcd',
    command: 'etcd',
    args: [
      '--name=etcd',
      `--data-dir=${path.join(options.directory, 'etcd')}`,
      `--listen-client-urls=http://${clients}`,
      `--advertise-client-urls=http://${clients}`,
      `--listen-peer-urls=http://${peers}`,
      `--initial-advertise-peer-urls=http://${peers}`,
      `--initial-cluster=etcd=http://${peers}`,
      '--auto-compaction-retention=1h',
      '--log-level=warn',
    ],
    addresses: { clients, peers },
    readyUrl: `http://${clients}/health`,
  };
}

function storePlan(options: ClusterOptions, index: number): ProcessPlan {
  const name = `store${index + 1}`;
  const peer = `127.0.0.1:${options.portBase + 2 + index}`;
  const http = `127.0.0.1:${options.portBase + 2 + STORE_COUNT + index}`;
  return {
    name,
    command: process.execPath,
    args: [
      ...[...NODE_FLAGS, MAIN, 'store', '--id', name, '--zone', `zone${index + 1}`],
      ...['--data', path.join(options.directory, name), '--listen', peer, '--http', http],
      ...['--control', `etcd://127.0.0.1:${options.portBase}`],
    ],
    addresses: { peer, http },
    readyUrl: `http://${http}/readyz`,
  };
}

function gatewayPlan(options: ClusterOptions, number: 1 | 2): ProcessPlan {
  const name = `gateway${number}`;
  const nbd = `127.0.0.1:${options.portBase + 8 + number}`;
  const http = `127.0.0.1:${options.portBase + (number === 1 ? 8 : 11)}`;
  const volumes = number === 1 ? options.volumes.flatMap((volume) => ['--volume', volume]) : [];
  return {
    name,
    command: process.execPath,
    args: [
      ...[...NODE_FLAGS, MAIN, 'gateway', '--id', name, '--nbd', nbd, '--http', http, ...volumes],
      ...['--control', `etcd://127.0.0.1:${options.portBase}`],
    ],
    addresses: { nbd, http },
    readyUrl: `http://${http}/readyz`,
  };
}

/** All processes, in the order in which they are started. */
export function clusterPlan(options: ClusterOptions): readonly ProcessPlan[] {
  return [
    etcdPlan(options),
    ...Array.from({ length: STORE_COUNT }, (_, index) => storePlan(options, index)),
    gatewayPlan(options, 1),
    gatewayPlan(options, 2),
  ];
}
