/**
 * Tending volumes that nobody has attached: bringing copies back that are missing.
 *
 * Owns: the election of one steward among all candidates, and which volume is tended when. Does not
 * own the work: an attach with a steward's lease resyncs as any other does. A gateway that wants
 * the volume takes the lease over at once; the steward's attach is fenced then, and ends.
 */
import type { ControlPlane, ControlSession } from '../control/control-plane.ts';
import { REVISION_NONE } from '../control/control-plane.ts';
import { leaseKey } from '../control/replica-set-record.ts';
import type { VolumeDirectory } from '../control/volume-directory.ts';
import type { VolumeRecord } from '../control/volume-record.ts';
import { type Clock, sleep } from '../runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Random } from '../runtime/random.ts';
import { type AttachOptions, attachVolume } from './attach.ts';
import { STEWARD_INTERVAL_MS, STEWARD_STUCK_MS, STEWARD_VOLUMES_MAX } from './limits.ts';
import type { ReplicaLink } from './replica-link.ts';
import type { ReplicatedStore } from './replicated-store.ts';

/** The record of the elected steward, bound to its session. */
export const STEWARD_KEY = 'steward';

export interface StewardOptions {
  readonly control: ControlPlane;
  readonly directory: VolumeDirectory;
  readonly session: ControlSession;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly holderId: string;
  readonly links: (nodeId: string) => ReplicaLink;
  readonly times?: AttachOptions['times'];
  readonly resyncBytesPerSecond?: number | undefined;
}

export interface TendedVolume {
  readonly name: string;
  readonly replication: ReplicatedStore;
}

export class Steward {
  readonly #options: StewardOptions;
  readonly #tended = new Map<string, Promise<void>>();
  /** Of those that are attached by now. */
  readonly #stores = new Map<string, ReplicatedStore>();
  #isStopped = false;
  #running: Promise<void> | undefined;
  /** Ends the pause between two rounds. */
  #endPause: (() => void) | undefined;

  constructor(options: StewardOptions) {
    this.#options = options;
  }

  /** The volumes that are attached for that now. */
  tended(): TendedVolume[] {
    return [...this.#stores].map(([name, replication]) => ({ name, replication }));
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when no volume is tended by this steward any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endPause?.();
    await this.#running;
    await Promise.all(this.#tended.values());
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    while (!this.#isStopped) {
      try {
        if (await this.#isElected()) await this.#tendSome();
      } catch (error) {
        if (!(error instanceof DroverError)) throw error;
        log.warn({ reason: describeError(error) }, 'the steward cannot do its round');
      }
      await this.#pause();
    }
  }

  #pause(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    return new Promise((resolve) => {
      this.#endPause = resolve;
      this.#options.clock.setTimer(STEWARD_INTERVAL_MS, resolve);
    });
  }

  /** Whoever makes the record is the steward until its session ends. */
  async #isElected(): Promise<boolean> {
    const { control, session, holderId } = this.#options;
    const found = await control.get(STEWARD_KEY);
    if (found !== undefined) return found.value === holderId;
    try {
      await control.commit({
        expect: [{ key: STEWARD_KEY, revision: REVISION_NONE }],
        put: [{ key: STEWARD_KEY, value: holderId, session }],
      });
      return true;
    } catch (error) {
      if (isDroverError(error, 'conflict')) return false;
      throw error;
    }
  }

  async #tendSome(): Promise<void> {
    const { control, directory } = this.#options;
    for (const { record } of await directory.list()) {
      if (this.#isStopped || this.#tended.size >= STEWARD_VOLUMES_MAX) return;
      if (this.#tended.has(record.name) || !this.#lacksReachableCopy(record)) continue;
      if ((await control.get(leaseKey(record.id))) !== undefined) continue;
      const tending = this.#tend(record.name).finally(() => this.#tended.delete(record.name));
      this.#tended.set(record.name, tending);
    }
  }

  /**
   * Whether a copy is missing whose node is there, and there is one that it can be made from. A node
   * with another directory than its copy was in has none, whatever the record says.
   */
  #lacksReachableCopy({ replicas }: VolumeRecord): boolean {
    if (replicas === undefined) return false;
    const { nodes, inSync, directories } = replicas;
    const isUp = (nodeId: string) => this.#options.links(nodeId).isUp();
    const isSameDirectory = (nodeId: string) => {
      const known = directories[nodeId];
      return known === undefined || known === this.#options.links(nodeId).directoryId();
    };
    const reached = nodes.filter(isUp);
    const whole = reached.filter((nodeId) => inSync.includes(nodeId) && isSameDirectory(nodeId));
    return whole.length > 0 && whole.length < reached.length;
  }

  async #tend(volumeName: string): Promise<void> {
    const { log, clock, session, holderId } = this.#options;
    const holder = { session, holderId, holderKind: 'steward' as const };
    let store: ReplicatedStore | undefined;
    try {
      store = await attachVolume({ ...this.#options, volumeName, holder });
      this.#stores.set(volumeName, store);
      let best = 0;
      let bestSinceMs = clock.nowMs();
      while (!this.#isStopped && store.leaseHolds()) {
        const { inSync, copies } = store.status();
        if (inSync === copies) break;
        const { resyncBytes } = store.stats;
        if (resyncBytes + inSync > best) {
          best = resyncBytes + inSync;
          bestSinceMs = clock.nowMs();
        }
        if (clock.nowMs() - bestSinceMs > STEWARD_STUCK_MS) break;
        await sleep(clock, STEWARD_INTERVAL_MS / 10);
      }
    } catch (error) {
      if (!(error instanceof DroverError)) throw error;
      log.warn({ volume: volumeName, reason: describeError(error) }, 'a volume cannot be tended');
    } finally {
      this.#stores.delete(volumeName);
      await store?.close();
    }
  }
}
