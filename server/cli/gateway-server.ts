/**
 * The wiring of `drover gateway`: the control plane in etcd, the store nodes over the network, and
 * the disks made of them, opened in this order and closed in the reverse one.
 *
 * Owns: when a volume without clients is given back, for another gateway to attach, and waiting for
 * store nodes when volumes are to be made on them.
 */
import { SessionKeeper } from '../../store/control/session-keeper.ts';
import { PeerRole } from '../../store/peer/greeting.ts';
import { pause, systemClock } from '../../store/runtime/clock.ts';
import { systemRandom } from '../../store/runtime/random.ts';
import { realNetwork } from '../../store/runtime/real-network.ts';
import { controlMetrics } from '../http/metrics/control-metrics.ts';
import { registerFamilies } from '../http/metrics/metric-family.ts';
import { nodeMetrics } from '../http/metrics/node-metrics.ts';
import { peerMetrics } from '../http/metrics/peer-metrics.ts';
import type { VolumeRegistry } from '../volume/registry.ts';
import { CommandFailure } from './command-failure.ts';
import { formatControlAddress, openEtcd } from './control-address.ts';
import { DiskService, makeVolumes } from './disk-service.ts';
import type { GatewayConfig } from './gateway-config.ts';
import { clusterIdOf } from './nodes/cluster-id.ts';
import { HolderReport } from './nodes/holder-report.ts';
import { minInSyncFor } from './nodes/min-in-sync.ts';
import { PeerNodes } from './nodes/peer-nodes.ts';
import type { ProgramParts, ReadyProgram } from './program.ts';
import { readyText } from './ready-text.ts';
import { opening } from './start-failure.ts';

/** A gateway that died is succeeded after this; it is as long as etcd may be away, too. */
const SESSION_TTL_MS = 10_000;
/** So long a client that comes again finds its cache warm; another gateway need not wait for it. */
const IDLE_DETACH_MS = 600_000;
/** Longer than a holder without clients needs to hear of the wish and to give the volume back. */
const BUSY_PATIENCE_MS = 6_000;
const COPIES_DEFAULT = 3;
const NODES_RETRY_MS = 250;

export interface GatewayServerOptions extends ProgramParts {
  readonly config: GatewayConfig;
}

export class GatewayServer {
  readonly #options: GatewayServerOptions;
  readonly #disks: DiskService;
  readonly #copies: number;

  /** Opens everything. Error: CommandFailure; what was opened until then is left to `stop`. */
  static open(options: GatewayServerOptions): Promise<ReadyProgram> {
    return new GatewayServer(options).#open();
  }

  private constructor(options: GatewayServerOptions) {
    this.#options = options;
    const { config, version, log, stop } = options;
    this.#copies = config.copy.copies ?? COPIES_DEFAULT;
    this.#disks = new DiskService({ config, version, log, stop, failure: () => undefined });
  }

  async #open(): Promise<ReadyProgram> {
    const { config, version, log, stop } = this.#options;
    const http = await this.#disks.openHttp();
    const control = await openEtcd(config.control, systemClock, this.#options);
    const sessions = new SessionKeeper(control, systemClock, SESSION_TTL_MS);
    registerFamilies(this.#disks.metrics, controlMetrics(control.stats, sessions));
    const name = formatControlAddress(config.control);
    const clusterId = await opening(name, clusterIdOf(control, systemRandom));
    const nodes = new PeerNodes({
      ...{ control, clusterId, role: PeerRole.gateway, ownName: config.id },
      ...{ network: realNetwork, clock: systemClock, random: systemRandom, log },
    });
    stop.add(
      () => 'the store nodes',
      async () => nodes.close(),
    );
    await opening(name, nodes.start());
    const status = () => nodes.status();
    registerFamilies(this.#disks.metrics, [
      ...nodeMetrics(status),
      ...peerMetrics(() => nodes.clients),
    ]);
    const { copy } = config;
    const minInSync = minInSyncFor(this.#copies, copy.minInSync);
    const volumes = await this.#disks.openVolumes({
      control,
      sessions,
      holderId: config.id,
      links: (nodeId) => nodes.link(nodeId),
      place: (volumeId) => nodes.place(volumeId, this.#copies, minInSync),
      idleDetachMs: IDLE_DETACH_MS,
      busyPatienceMs: BUSY_PATIENCE_MS,
      nodes: status,
      // Store nodes do that.
      tended: () => [],
    });
    const report = new HolderReport({
      ...{ holderId: config.id, control, sessions, clock: systemClock, log },
      held: () => volumes.attached(),
    });
    stop.add(
      () => 'the report on copies',
      () => report.stop(),
    );
    report.start();
    await this.#makeVolumes(volumes, nodes);
    const nbd = await this.#disks.openNbd(volumes);
    this.#disks.ready();
    const source = `cluster ${name}`;
    const { cacheBytes } = config;
    return {
      readyText: readyText({ version, source, cacheBytes, nbd, http, volumes: volumes.list() }),
      refuseNewWork: () => this.#disks.refuseNewWork(),
    };
  }

  /** Volumes that are missing need nodes to be made on, which may be starting too. */
  async #makeVolumes(volumes: VolumeRegistry, nodes: PeerNodes): Promise<void> {
    const { config, log, isStopWanted } = this.#options;
    const isMissing = config.volumes.some(({ name }) => volumes.find(name) === undefined);
    let isSaid = false;
    while (isMissing && nodes.aliveCount < this.#copies) {
      const waitsFor = `waiting for ${this.#copies} store nodes, ${nodes.aliveCount} are registered`;
      this.#disks.waitFor(waitsFor);
      if (!isSaid) log.warn({}, waitsFor);
      isSaid = true;
      if (isStopWanted()) throw new CommandFailure(`stopped while ${waitsFor}`);
      await pause(NODES_RETRY_MS);
    }
    await opening('the volumes', makeVolumes(volumes, config.volumes, log));
  }
}
