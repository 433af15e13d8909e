/**
 * The cluster of `docker/docker-compose.yml`, brought up for a test under a name of its own.
 *
 * Grafana is left out: its image comes only from a registry. Everything else is the real file.
 */
import { join } from 'node:path';
import { run, runToEnd } from '../support/child-process.ts';
import type { TestScope } from '../support/temp-folder.ts';
import { type BaseImages, CHECKOUT } from './base-images.ts';
import { freePorts } from './free-ports.ts';

const COMPOSE_FILE = join(CHECKOUT, 'docker', 'docker-compose.yml');
const UP_LIMIT_MS = 600_000;
const STEP_LIMIT_MS = 180_000;

export const DROVER_SERVICES = ['store1', 'store2', 'store3', 'gateway1', 'gateway2'] as const;
const SERVICES = ['etcd', ...DROVER_SERVICES, 'prometheus'] as const;
/** One for each image: the services of Drover share theirs. */
const BUILT_SERVICES = ['etcd', 'store1', 'prometheus'] as const;
export type Service = (typeof SERVICES)[number];

export interface ClusterOptions {
  readonly dockerHost: string;
  /** Of this run alone: the project's and the images' name. */
  readonly runName: string;
  readonly images: BaseImages;
}

/** Where a gateway's published ports are. */
export interface GatewayAddress {
  readonly nbdPort: number;
  readonly uri: string;
  readonly http: string;
}

function gatewayAddress(nbdPort: number, httpPort: number): GatewayAddress {
  const uri = `nbd://127.0.0.1:${nbdPort}/disk0`;
  return { nbdPort, uri, http: `http://127.0.0.1:${httpPort}` };
}

export class ComposeCluster {
  readonly #env: Readonly<Record<string, string>>;
  readonly #project: string;
  readonly droverImage: string;
  readonly gateway1: GatewayAddress;
  readonly gateway2: GatewayAddress;
  readonly prometheusUrl: string;

  static async up(t: TestScope, options: ClusterOptions): Promise<ComposeCluster> {
    const cluster = new ComposeCluster(options, await freePorts(5));
    t.teardown(() => cluster.compose('down', '--volumes', '--timeout', '5'));
    await cluster.compose('build', ...BUILT_SERVICES);
    await cluster.compose('up', '--detach', '--no-build', ...SERVICES);
    return cluster;
  }

  private constructor(options: ClusterOptions, ports: readonly number[]) {
    const { dockerHost, runName, images } = options;
    const [nbd1, http1, nbd2, http2, prometheus] = ports;
    this.#project = runName;
    this.droverImage = `${runName}-drover`;
    this.#env = {
      DOCKER_HOST: dockerHost,
      DOCKER_BUILDKIT: '0',
      COMPOSE_DOCKER_CLI_BUILD: '0',
      NODE_IMAGE: images.node,
      DEBIAN_IMAGE: images.debian,
      PROMETHEUS_IMAGE: images.prometheus,
      DROVER_IMAGE: this.droverImage,
      DROVER_ETCD_IMAGE: `${runName}-etcd`,
      DROVER_PROMETHEUS_IMAGE: `${runName}-prometheus`,
      GATEWAY1_NBD_PORT: String(nbd1),
      GATEWAY1_HTTP_PORT: String(http1),
      GATEWAY2_NBD_PORT: String(nbd2),
      GATEWAY2_HTTP_PORT: String(http2),
      PROMETHEUS_PORT: String(prometheus),
    };
    this.gateway1 = gatewayAddress(nbd1!, http1!);
    this.gateway2 = gatewayAddress(nbd2!, http2!);
    this.prometheusUrl = `http://127.0.0.1:${prometheus}`;
  }

  compose(...args: string[]): Promise<string> {
    const limitMs = args[0] === 'build' || args[0] === 'up' ? UP_LIMIT_MS : STEP_LIMIT_MS;
    const all = ['--file', COMPOSE_FILE, '--project-name', this.#project, ...args];
    return run(limitMs, 'docker-compose', all, { env: this.#env });
  }

  docker(...args: string[]): Promise<string> {
    return run(STEP_LIMIT_MS, 'docker', args, { env: this.#env });
  }

  stop(service: Service): Promise<string> {
    return this.compose('stop', service);
  }

  start(service: Service): Promise<string> {
    return this.compose('start', service);
  }

  /** What `docker inspect` says of a service's container, by Go template. */
  async inspect(service: Service, template: string): Promise<string> {
    const id = (await this.compose('ps', '--quiet', service)).trim();
    return (await this.docker('inspect', '--format', template, id)).trim();
  }

  /** The last lines of every container, for the message of a failure. */
  async logs(): Promise<string> {
    const args = ['--file', COMPOSE_FILE, '--project-name', this.#project];
    const command = [...args, 'logs', '--no-color', '--tail=40'];
    const { stdout } = await runToEnd(STEP_LIMIT_MS, 'docker-compose', command, { env: this.#env });
    return stdout;
  }
}
