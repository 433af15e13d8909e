/**
 * The wiring of `drover serve`: control plane, a store node for each data directory, and the disks
 * made of them, in one process, opened in this order and closed in the reverse one.
 *
 * Owns: where the data lies. In each directory, `control` is a copy of the control records and
 * `node` the data of a store node, so that any directory may be lost while most remain.
 */
import { join, resolve } from 'node:path';
import { EmbeddedControl } from '../../store/control/embedded-control.ts';
import { SessionKeeper } from '../../store/control/session-keeper.ts';
import { VolumeDirectory } from '../../store/control/volume-directory.ts';
import { systemClock } from '../../store/runtime/clock.ts';
import { describeError } from '../../store/runtime/drover-error.ts';
import type { Logger } from '../../store/runtime/logger.ts';
import { systemRandom } from '../../store/runtime/random.ts';
import { realDisk } from '../../store/runtime/real-disk.ts';
import { controlMetrics } from '../http/metrics/control-metrics.ts';
import { engineMetrics } from '../http/metrics/engine-metrics.ts';
import { registerFamilies } from '../http/metrics/metric-family.ts';
import { nodeMetrics } from '../http/metrics/node-metrics.ts';
import type { NodeStatus } from '../http/status-api.ts';
import { CommandFailure } from './command-failure.ts';
import { makeDataDirectory } from './data-directory.ts';
import { VOLUME_DEFAULT } from './disk-config.ts';
import { DiskService, makeVolumes } from './disk-service.ts';
import { absentLink } from './nodes/absent-link.ts';
import { LayerSweep } from './nodes/layer-sweep.ts';
import { isExpected, type LocalNode } from './nodes/local-node.ts';
import { LocalNodes } from './nodes/local-nodes.ts';
import { minInSyncFor } from './nodes/min-in-sync.ts';
import { Stewardship } from './nodes/stewardship.ts';
import type { ProgramParts, ReadyProgram } from './program.ts';
import { readyText } from './ready-text.ts';
import { DATA_DIRECTORIES_DEFAULT, DATA_ROOT_DEFAULT, type ServeConfig } from './serve-config.ts';
import { opening } from './start-failure.ts';
import type { StopSequence } from './stop-sequence.ts';

/** Of the session that leases are bound to; it ends with the process in any case. */
const SESSION_TTL_MS = 10_000;
const HOLDER_ID = 'embedded';
const COPIES_DEFAULT_MAX = 3;

export interface EmbeddedServerOptions extends ProgramParts {
  readonly config: ServeConfig;
}

export class EmbeddedServer {
  readonly #config: ServeConfig;
  readonly #log: Logger;
  readonly #stop: StopSequence;
  readonly #disks: DiskService;
  readonly #sweeps = new Map<LocalNode, LayerSweep>();
  #nodes: LocalNodes | undefined;
  #minInSync = 1;

  /** Opens everything. Error: CommandFailure; what was opened until then is left to `stop`. */
  static open(options: EmbeddedServerOptions): Promise<ReadyProgram> {
    return new EmbeddedServer(options).#open(options.version);
  }

  private constructor({ config, version, log, stop }: EmbeddedServerOptions) {
    this.#config = config;
    this.#log = log;
    this.#stop = stop;
    const failure = () => this.#failure();
    this.#disks = new DiskService({ config, version, log, stop, failure });
  }

  async #open(version: string): Promise<ReadyProgram> {
    const config = this.#config;
    const http = await this.#disks.openHttp();
    const directories = await this.#directories();
    const control = await this.#openControl(directories);
    const nodes = await this.#openNodes(directories, control);
    const sessions = new SessionKeeper(control, systemClock, SESSION_TTL_MS);
    registerFamilies(this.#disks.metrics, controlMetrics(control.stats, sessions));
    const links = (name: string) => nodes.link(name) ?? absentLink(name, systemClock.nowMs());
    const steward = new Stewardship({
      ...{ control, sessions, directory: new VolumeDirectory(control), links },
      ...{ clock: systemClock, random: systemRandom, log: this.#log, holderId: 'steward' },
      resyncBytesPerSecond: config.copy.resyncBytesPerSecond,
    });
    const side = {
      control,
      sessions,
      holderId: HOLDER_ID,
      links,
      place: (volumeId: number) => nodes.place(volumeId),
      replicasUnlessNamed: nodes.onlyCopy(),
      busyPatienceMs: 0,
      nodes: () => nodes.nodes.map(statusOf),
      tended: () => steward.tended(),
    };
    registerFamilies(this.#disks.metrics, nodeMetrics(side.nodes));
    const volumes = await this.#disks.openVolumes(side);
    const isFirstStart = config.volumes.length === 0 && volumes.list().length === 0;
    const wishes = isFirstStart ? [VOLUME_DEFAULT] : config.volumes;
    await opening('the volumes', makeVolumes(volumes, wishes, this.#log));
    this.#stop.add(
      () => 'the steward',
      () => steward.stop(),
    );
    steward.start();
    const nbd = await this.#disks.openNbd(volumes);
    this.#disks.ready();
    const { cacheBytes } = config;
    const source = `data in ${directories.join(', ')}`;
    return {
      readyText: readyText({ version, source, cacheBytes, nbd, http, volumes: volumes.list() }),
      refuseNewWork: () => this.#disks.refuseNewWork(),
    };
  }

  /** Absolute, each once; what an earlier version kept in one place stays where it is. */
  async #directories(): Promise<string[]> {
    const given = this.#config.dataDirectories;
    const isEarlier = async () =>
      (await realDisk.readSmallFile(join(DATA_ROOT_DEFAULT, 'node', 'identity.json'))) !==
      undefined;
    const chosen = given ?? ((await isEarlier()) ? [DATA_ROOT_DEFAULT] : DATA_DIRECTORIES_DEFAULT);
    const directories = [...new Set(chosen.map((directory) => resolve(directory)))];
    let failure: unknown;
    let madeCount = 0;
    for (const directory of directories) {
      try {
        await makeDataDirectory(realDisk, directory);
        madeCount += 1;
      } catch (error) {
        // One that cannot be made is a node that is down, as long as there is another.
        if (!isExpected(error)) throw error;
        failure ??= new CommandFailure(`cannot open ${directory}: ${describeError(error)}`);
      }
    }
    if (madeCount === 0) throw failure;
    return directories;
  }

  async #openControl(directories: readonly string[]): Promise<EmbeddedControl> {
    const places = directories.map((directory) => join(directory, 'control'));
    const behind = new Set<string>();
    const onCopyEvent = (copy: string, event: 'current' | 'behind', error: unknown) => {
      const wasBehind = behind.delete(copy);
      if (event === 'behind') {
        behind.add(copy);
        this.#log.warn({ copy, reason: describeError(error) }, 'a control plane copy is behind');
      } else if (wasBehind) {
        this.#log.info({ copy }, 'a control plane copy is current again');
      }
    };
    const opened = EmbeddedControl.open({
      ...{ directories: places, disk: realDisk, clock: systemClock, random: systemRandom },
      onCopyEvent,
    });
    const control = await opening(places[0]!, opened);
    this.#stop.add(
      () => 'the control plane',
      () => control.close(),
    );
    return control;
  }

  async #openNodes(directories: readonly string[], control: EmbeddedControl): Promise<LocalNodes> {
    const { copies, minInSync } = this.#config.copy;
    const copiesWanted = copies ?? Math.min(COPIES_DEFAULT_MAX, directories.length);
    if (copiesWanted > directories.length) {
      throw new CommandFailure(
        `--copies ${copiesWanted} needs ${copiesWanted} data directories, and ${directories.length} are given`,
      );
    }
    this.#minInSync = minInSyncFor(copiesWanted, minInSync);
    const volumes = new VolumeDirectory(control);
    const nodes = new LocalNodes({
      ...{ control, directories, copies: copiesWanted, minInSync, clusterId: control.clusterId },
      ...{ disk: realDisk, clock: systemClock, random: systemRandom, log: this.#log },
      onUp: (node) => this.#sweeps.get(node)?.sweep(),
    });
    this.#stop.add(
      () => 'the last checkpoints',
      () => nodes.close(),
    );
    this.#nodes = nodes;
    await opening(join(directories[0]!, 'node'), nodes.open());
    registerFamilies(
      this.#disks.metrics,
      engineMetrics(() => nodes.nodes.flatMap(engineViewOf)),
    );
    for (const node of nodes.nodes) {
      const common = { control, directory: volumes, clock: systemClock, log: this.#log };
      const sweep = new LayerSweep({ ...common, nodeId: node.name, node: () => node.engine });
      this.#sweeps.set(node, sweep);
      this.#stop.add(
        () => 'the removal of old volumes',
        () => sweep.stop(),
      );
      await opening('the volumes', sweep.start());
    }
    return nodes;
  }

  /** The process is of no use when too few nodes take writes. */
  #failure(): string | undefined {
    const nodes = this.#nodes?.nodes ?? [];
    const failed = nodes.filter((node) => node.state === 'failed' || this.#isDown(node));
    if (nodes.length - failed.length >= this.#minInSync) return undefined;
    return failed[0]?.reason;
  }

  #isDown(node: LocalNode): boolean {
    return node.state === 'down' && node.name !== '';
  }
}

function engineViewOf(node: LocalNode) {
  const { engine, name } = node;
  if (engine === undefined) return [];
  return [
    { nodeId: name, stats: engine.stats, gauges: () => engine.gauges(), state: engine.state },
  ];
}

function statusOf(node: LocalNode): NodeStatus {
  const gauges = node.engine?.gauges();
  return {
    nodeId: node.name,
    zone: '',
    address: node.directory,
    state: node.state,
    reason: node.reason ?? null,
    capacityBytes: gauges?.capacityBytes ?? null,
    liveBytes: gauges?.liveBytes ?? null,
    freeBytes: gauges?.freeBytes ?? null,
    objectCount: gauges?.objectCount ?? null,
    lastSeen: null,
  };
}
