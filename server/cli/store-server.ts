/**
 * The wiring of `drover store`: one engine, served to gateways and other nodes, and its place in
 * the control plane; opened in this order and closed in the reverse one.
 *
 * Owns: that a node serves nobody before it belongs to the cluster. Data lies in `DIR/node`.
 */
import { join, resolve } from 'node:path';
import { Registry } from 'prom-client';
import { DirectoryHistory } from '../../store/control/directory-history.ts';
import type { EtcdControl } from '../../store/control/etcd-control.ts';
import { SessionKeeper } from '../../store/control/session-keeper.ts';
import { VolumeDirectory } from '../../store/control/volume-directory.ts';
import type { Engine } from '../../store/engine/engine.ts';
import { readIdentity } from '../../store/engine/identity.ts';
import { openEngine } from '../../store/engine/open-engine.ts';
import { copyingNode } from '../../store/peer/copy-object.ts';
import { PeerRole } from '../../store/peer/greeting.ts';
import { PeerServer } from '../../store/peer/peer-server.ts';
import { BUSY_POLL } from '../../store/runtime/busy-poll.ts';
import { systemClock } from '../../store/runtime/clock.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import { systemRandom } from '../../store/runtime/random.ts';
import { realDisk } from '../../store/runtime/real-disk.ts';
import { realNetwork } from '../../store/runtime/real-network.ts';
import { HttpServer } from '../http/http-server.ts';
import { controlMetrics } from '../http/metrics/control-metrics.ts';
import { engineMetrics } from '../http/metrics/engine-metrics.ts';
import { registerFamilies } from '../http/metrics/metric-family.ts';
import { peerMetrics } from '../http/metrics/peer-metrics.ts';
import { peerServerMetrics } from '../http/metrics/peer-server-metrics.ts';
import { registerProcessMetrics } from '../http/metrics/process-metrics.ts';
import { replicationMetrics } from '../http/metrics/replication-metrics.ts';
import { CommandFailure } from './command-failure.ts';
import { formatControlAddress, openEtcd } from './control-address.ts';
import { makeDataDirectory } from './data-directory.ts';
import { formatTcpAddress } from './listen-address.ts';
import { clusterIdOf, joinCluster } from './nodes/cluster-id.ts';
import { HolderReport } from './nodes/holder-report.ts';
import { LayerSweep } from './nodes/layer-sweep.ts';
import { PeerNodes } from './nodes/peer-nodes.ts';
import { Registration } from './nodes/registration.ts';
import { Stewardship } from './nodes/stewardship.ts';
import type { ProgramParts, ReadyProgram } from './program.ts';
import { READY_LINE } from './ready-text.ts';
import { listening, opening } from './start-failure.ts';
import type { StoreConfig } from './store-config.ts';

/** How long a node counts as alive that tells nothing of itself. */
const SESSION_TTL_MS = 10_000;

export interface StoreServerOptions extends ProgramParts {
  readonly config: StoreConfig;
}

export class StoreServer {
  readonly #options: StoreServerOptions;
  readonly #metrics = new Registry();
  readonly #deposed = Promise.withResolvers<never>();
  #engine: Engine | undefined;
  #notReady: string | undefined = 'starting';

  /** Opens everything. Error: CommandFailure; what was opened until then is left to `stop`. */
  static open(options: StoreServerOptions): Promise<ReadyProgram> {
    return new StoreServer(options).#open();
  }

  private constructor(options: StoreServerOptions) {
    this.#options = options;
    registerProcessMetrics(this.#metrics, options.version);
  }

  async #open(): Promise<ReadyProgram> {
    const { config, version, log, stop } = this.#options;
    const http = await this.#openHttp();
    const control = await openEtcd(config.control, systemClock, this.#options);
    const name = formatControlAddress(config.control);
    const clusterId = await opening(name, clusterIdOf(control, systemRandom));
    const engine = await this.#openEngine(clusterId, new DirectoryHistory(control));
    const nodes = new PeerNodes({
      ...{ control, clusterId, role: PeerRole.storeNode, ownName: config.id },
      ...{ network: realNetwork, clock: systemClock, random: systemRandom, log },
    });
    stop.add(
      () => 'the other store nodes',
      async () => nodes.close(),
    );
    await opening(name, nodes.start());
    registerFamilies(
      this.#metrics,
      peerMetrics(() => nodes.clients),
    );
    const server = await this.#listen(engine, nodes, clusterId);
    await opening(name, this.#join(control, engine, nodes, server));
    this.#notReady = undefined;
    const place = `${formatTcpAddress(server.address)}, data in ${resolve(config.dataDirectory)}`;
    const health = http === undefined ? [] : [`Health, metrics: ${http}/healthz /readyz /metrics`];
    const title = `Drover ${version}, store node ${config.id} of cluster ${name} on ${place}`;
    return {
      readyText: [title, ...health, READY_LINE].join('\n'),
      refuseNewWork: () => {
        this.#notReady = 'stopping';
      },
      fatal: this.#deposed.promise,
    };
  }

  async #openHttp(): Promise<string | undefined> {
    const { config, log, stop } = this.#options;
    if (config.http === undefined) return undefined;
    const http = new HttpServer({
      health: { failure: () => this.#engine?.failure?.message, notReady: () => this.#notReady },
      metrics: this.#metrics,
      log,
    });
    stop.add(
      () => 'HTTP requests',
      () => http.close(),
    );
    const name = formatTcpAddress(config.http);
    const bound = await listening('--http', name, http.listen(config.http));
    return `http://${formatTcpAddress(bound)}`;
  }

  async #openEngine(clusterId: string, history: DirectoryHistory): Promise<Engine> {
    const { config, log, stop } = this.#options;
    const root = resolve(config.dataDirectory);
    await opening(root, makeDataDirectory(realDisk, root));
    const directory = join(root, 'node');
    await opening(directory, assertOwnDirectory(directory, config.id));
    const fields = { node: config.id, directory };
    const opened = openEngine({
      ...{ directory, disk: realDisk, clock: systemClock, random: systemRandom, name: config.id },
      ...(config.capacityBytes === undefined ? {} : { capacityBytes: config.capacityBytes }),
      judge: (found) => history.judge(found),
      // What cannot be read here is read from the other copies, and repaired.
      onDamage: 'degrade',
      log: {
        info: (message) => log.info(fields, message),
        warn: (message) => log.warn(fields, message),
        error: (message) => log.error(fields, message),
      },
    });
    const engine = await opening(directory, opened);
    stop.add(
      () => 'the last checkpoint',
      () => engine.close(),
    );
    await opening(directory, joinCluster(realDisk, directory, clusterId));
    // Before anybody is served: what is acknowledged from now on is not in any older copy.
    await opening(directory, history.note(engine.directoryState));
    for (const { segmentId, reason } of engine.damage) {
      log.error({ ...fields, segmentId, reason }, 'stored data is damaged');
    }
    this.#engine = engine;
    const { stats } = engine;
    const view = { nodeId: config.id, stats, gauges: () => engine.gauges() };
    registerFamilies(
      this.#metrics,
      engineMetrics(() => [{ ...view, state: engine.state }]),
    );
    return engine;
  }

  async #listen(engine: Engine, nodes: PeerNodes, clusterId: string): Promise<PeerServer> {
    const { config, log, stop } = this.#options;
    const { directoryId, openId } = engine;
    const opened = PeerServer.listen(
      {
        node: copyingNode(engine, (nodeId) => nodes.resolve(nodeId), { clock: systemClock }),
        identity: { nodeId: config.id, directoryId, openId },
        ...{ clusterId, network: realNetwork, clock: systemClock, log },
        busyPoll: BUSY_POLL,
      },
      config.listen,
    );
    const server = await listening('--listen', formatTcpAddress(config.listen), opened);
    stop.add(
      () => 'the requests of gateways',
      () => server.close(),
    );
    registerFamilies(
      this.#metrics,
      peerServerMetrics(() => server.stats),
    );
    return server;
  }

  /** Takes its place in the cluster; what is opened here ends first. */
  async #join(
    control: EtcdControl,
    engine: Engine,
    nodes: PeerNodes,
    server: PeerServer,
  ): Promise<void> {
    const { config, log, stop } = this.#options;
    const sessions = new SessionKeeper(control, systemClock, SESSION_TTL_MS);
    registerFamilies(this.#metrics, controlMetrics(control.stats, sessions));
    const directory = new VolumeDirectory(control);
    const nodeId = config.id;
    const common = { nodeId, control, sessions, clock: systemClock, log };
    const sweep = new LayerSweep({ ...common, directory, node: () => engine });
    stop.add(
      () => 'the removal of old volumes',
      () => sweep.stop(),
    );
    await sweep.start();
    const holderId = `steward on ${nodeId}`;
    const steward = new Stewardship({
      ...{ ...common, directory, random: systemRandom, holderId },
      links: (id) => nodes.link(id),
    });
    // Of other volumes than those that it tends the gateways tell.
    const tended = { attached: () => steward.tended(), records: () => [] };
    registerFamilies(this.#metrics, replicationMetrics(tended));
    const report = new HolderReport({ ...common, holderId, held: () => steward.tended() });
    const registration = new Registration({
      ...{ ...common, engine, zone: config.zone },
      address: config.advertise ?? server.address,
      onDeposed: (error) => this.#deposed.reject(new CommandFailure(error.message)),
    });
    stop.add(
      () => 'the registration',
      async () => {
        await report.stop();
        await steward.stop();
        await registration.stop();
      },
    );
    await registration.start();
    steward.start();
    report.start();
  }
}

/** Error: `invalid` for the directory of a node with another name. */
async function assertOwnDirectory(directory: string, id: string): Promise<void> {
  const identity = await readIdentity(realDisk, directory, undefined);
  if (identity === undefined || identity.name === id) return;
  throw new DroverError('invalid', `it belongs to node ${identity.name}, not to node ${id}`);
}
