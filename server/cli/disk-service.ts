/**
 * What makes disks out of a cluster, in any process that serves them: HTTP, cache, volumes, NBD.
 *
 * Owns: which part gets which other part, and the readiness of the whole. Does not own the control
 * plane and the nodes, which come as a `ClusterSide`: they are in the same process for
 * `drover serve`, and elsewhere for `drover gateway`.
 * HTTP comes first, so that health and metrics answer during a long start and a long last flush.
 */

import assert from 'node:assert';
import { Registry } from 'prom-client';
import type { ControlPlane } from '../../store/control/control-plane.ts';
import type { ReplicaSetRecord } from '../../store/control/replica-set-record.ts';
import type { SessionKeeper } from '../../store/control/session-keeper.ts';
import { VolumeDirectory } from '../../store/control/volume-directory.ts';
import type { ReplicaLink } from '../../store/replication/replica-link.ts';
import { systemClock } from '../../store/runtime/clock.ts';
import type { Logger } from '../../store/runtime/logger.ts';
import { systemRandom } from '../../store/runtime/random.ts';
import { ObjectCache } from '../cache/object-cache.ts';
import { HttpServer } from '../http/http-server.ts';
import { cacheMetrics } from '../http/metrics/cache-metrics.ts';
import { registerFamilies } from '../http/metrics/metric-family.ts';
import { nbdMetrics } from '../http/metrics/nbd-metrics.ts';
import { registerProcessMetrics } from '../http/metrics/process-metrics.ts';
import { leaseMetrics, replicationMetrics } from '../http/metrics/replication-metrics.ts';
import type { NodeStatus } from '../http/status-api.ts';
import { NbdServer } from '../nbd/nbd-server.ts';
import { replicatedAttach } from '../volume/attach-replicated.ts';
import { AttachedVolume } from '../volume/attached-volume.ts';
import { type AttachedReplication, VolumeRegistry } from '../volume/registry.ts';
import { VolumeWishes } from '../volume/volume-wishes.ts';
import { ClusterStatusView } from './cluster-status.ts';
import type { DiskConfig, VolumeWish } from './disk-config.ts';
import {
  formatListenAddress,
  formatTcpAddress,
  isLocal,
  type ListenAddress,
  type TcpAddress,
} from './listen-address.ts';
import { formatSize } from './size.ts';
import { listening, opening } from './start-failure.ts';
import type { StopSequence } from './stop-sequence.ts';

/** How long requests under way may take to be answered once the process is told to stop. */
const NBD_CLOSE_GRACE_MS = 10_000;

export interface DiskServiceOptions {
  readonly config: DiskConfig;
  readonly version: string;
  readonly log: Logger;
  /** Closes, in order, what was opened; also when opening the next part failed. */
  readonly stop: StopSequence;
  /** Why the process cannot do its work any more; `undefined` while it can. */
  readonly failure: () => string | undefined;
}

/** The cluster as this process reaches it. */
export interface ClusterSide {
  readonly control: ControlPlane;
  readonly sessions: SessionKeeper;
  readonly holderId: string;
  readonly links: (nodeId: string) => ReplicaLink;
  readonly place: (volumeId: number) => ReplicaSetRecord;
  readonly replicasUnlessNamed?: ReplicaSetRecord;
  /** A volume without clients is given back after this. */
  readonly idleDetachMs?: number;
  /** How long an attach waits for another holder to give the volume back. */
  readonly busyPatienceMs: number;
  readonly nodes: () => readonly NodeStatus[];
  /** Volumes that nobody has attached and whose copies this process brings back. */
  readonly tended: () => readonly AttachedReplication[];
}

export class DiskService {
  readonly metrics = new Registry();
  readonly #options: DiskServiceOptions;
  #volumes: VolumeRegistry | undefined;
  #status: ClusterStatusView | undefined;
  #notReady: string | undefined = 'starting';

  constructor(options: DiskServiceOptions) {
    this.#options = options;
    registerProcessMetrics(this.metrics, options.version);
  }

  /** Clients may come. */
  ready(): void {
    this.#notReady = undefined;
  }

  /** From now on it is not ready; what was begun goes on. */
  refuseNewWork(): void {
    this.#notReady = 'stopping';
  }

  waitFor(what: string): void {
    this.#notReady = what;
  }

  async openHttp(): Promise<TcpAddress> {
    const { config, log, stop, failure } = this.#options;
    const http = new HttpServer({
      health: { failure, notReady: () => this.#notReady },
      metrics: this.metrics,
      volumes: () => whenReady(this.#volumes),
      status: () => whenReady(this.#status),
      log,
    });
    stop.add(
      () => 'HTTP requests',
      () => http.close(),
    );
    const bound = await listening(
      '--http',
      formatTcpAddress(config.http),
      http.listen(config.http),
    );
    this.#warnIfPublic('HTTP', bound);
    return bound;
  }

  /** The volumes of the cluster, behind a cache; those wished for are made by `makeVolumes`. */
  async openVolumes(side: ClusterSide): Promise<VolumeRegistry> {
    const { config, log, stop } = this.#options;
    const { control, holderId } = side;
    const cache = new ObjectCache({ cacheBytes: config.cacheBytes, clock: systemClock });
    registerFamilies(this.metrics, cacheMetrics(cache));
    const directory = new VolumeDirectory(control);
    const { copy } = config;
    const { sessions, place, idleDetachMs, busyPatienceMs: patienceMs } = side;
    const common = { control, directory, holderId, clock: systemClock, log };
    const wishes = new VolumeWishes({ ...common, sessions, patienceMs });
    const attach = replicatedAttach({
      ...side,
      directory,
      wishes,
      clock: systemClock,
      random: systemRandom,
      log,
      times: {
        silentLimitMs: copy.silentLimitMs,
        refusedLimitMs: copy.refusedLimitMs,
        stallTimeoutMs: copy.stallTimeoutMs,
      },
      resyncBytesPerSecond: copy.resyncBytesPerSecond,
      makeVolume: ({ name, sizeBytes, isReadOnly }, objectStore) =>
        new AttachedVolume({ name, sizeBytes, isReadOnly, objectStore, cache, clock: systemClock }),
    });
    const opened = VolumeRegistry.open({ ...common, attach, wishes, place, idleDetachMs });
    const volumes = await opening('the volumes', opened);
    stop.add(
      () => `the flush of ${formatSize(cache.dirtyBytes)}`,
      () => volumes.close(),
    );
    registerFamilies(this.metrics, [
      ...replicationMetrics({
        attached: () => [...volumes.attached(), ...side.tended()],
        records: () => volumes.records(),
      }),
      ...leaseMetrics(volumes.stats),
    ]);
    this.#volumes = volumes;
    const { tended, nodes } = side;
    this.#status = new ClusterStatusView({ control, volumes, holderId, tended, nodes });
    return volumes;
  }

  async openNbd(volumes: VolumeRegistry): Promise<ListenAddress[]> {
    const { config, log, stop } = this.#options;
    const nbd = new NbdServer({ catalog: volumes, clock: systemClock, logger: log });
    registerFamilies(this.metrics, nbdMetrics(nbd.stats));
    stop.add(
      () => `the requests of ${nbd.connections} NBD connections`,
      () => nbd.close(NBD_CLOSE_GRACE_MS),
    );
    const bound: ListenAddress[] = [];
    for (const address of config.nbd) {
      const name = formatListenAddress(address);
      const { address: actual } = await listening('--nbd', name, nbd.listen(address));
      this.#warnIfPublic('NBD', actual);
      bound.push(actual);
    }
    return bound;
  }

  #warnIfPublic(what: string, address: ListenAddress): void {
    if (isLocal(address)) return;
    const fields = { address: formatListenAddress(address) };
    this.#options.log.warn(
      fields,
      `${what} is open to other machines, without encryption or passwords`,
    );
  }
}

/** HTTP asks only when nothing speaks against being ready. */
function whenReady<T>(part: T | undefined): T {
  assert(part !== undefined, 'asked before the server was ready');
  return part;
}

/** Makes the volumes that do not exist. Errors: `unavailable`. */
export async function makeVolumes(
  volumes: VolumeRegistry,
  wishes: readonly VolumeWish[],
  log: Logger,
): Promise<void> {
  for (const { name, sizeBytes } of wishes) {
    const existing = volumes.find(name);
    if (existing === undefined) {
      await volumes.create({ name, sizeBytes });
      log.info({ volume: name, sizeBytes }, 'made a volume');
    } else if (existing.sizeBytes !== sizeBytes) {
      const fields = { volume: name, sizeBytes: existing.sizeBytes, wishedBytes: sizeBytes };
      log.warn(fields, 'a volume exists with another size; it stays as it is');
    }
  }
}
