/**
 * A store node of this process: one data directory, and the engine on it while there is one.
 *
 * Owns: opening the engine, noticing that it is gone, opening it again. Does not own the node's
 * name (`local-nodes.ts`), nor what replication does about a node that fails.
 *
 * - `down`: the directory cannot be used; it is tried again now and then
 * - `up`: serves
 * - `failed`: the disk refused a write; reads go on until the engine is opened again
 * Invariant: a directory that was given up is only taken again with a node's data in it. An empty
 * one is most often a disk that is not mounted, and would be filled in its place.
 */
import { join } from 'node:path';
import type { DirectoryHistory } from '../../../store/control/directory-history.ts';
import type { Engine } from '../../../store/engine/engine.ts';
import { openEngine } from '../../../store/engine/open-engine.ts';
import type { ReplicaNode } from '../../../store/engine/replica-node.ts';
import { copyingNode, type NodeResolver } from '../../../store/peer/copy-object.ts';
import type { ReplicaLink } from '../../../store/replication/replica-link.ts';
import type { Clock } from '../../../store/runtime/clock.ts';
import type { Disk } from '../../../store/runtime/disk.ts';
import { DroverError, describeError, isDroverError } from '../../../store/runtime/drover-error.ts';
import type { Logger } from '../../../store/runtime/logger.ts';
import type { Random } from '../../../store/runtime/random.ts';
import { makeDataDirectory } from '../data-directory.ts';
import { joinCluster } from './cluster-id.ts';
import { indexLimits } from './index-limits.ts';
import { missingNode } from './missing-node.ts';

export type LocalNodeState = 'down' | 'up' | 'failed';

const TEND_MS = 5_000;

export interface LocalNodeOptions {
  /** Absolute. */
  readonly directory: string;
  readonly clusterId: string;
  readonly history: DirectoryHistory;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** How the node reaches the others. */
  readonly resolve: NodeResolver;
  /** There are other copies: damage is lived with, and a failed engine is opened again. */
  readonly hasCopies: boolean;
  /** Of this process; they share the memory for indexes. */
  readonly nodeCount: number;
  /** Told when the node came up; also of another directory content than before. */
  readonly onUp: (node: LocalNode) => void;
}

export class LocalNode {
  readonly directory: string;
  /** Given when all directories were looked at. */
  name = '';
  readonly #options: LocalNodeOptions;
  #engine: Engine | undefined;
  #node: ReplicaNode;
  #reason = 'not opened yet';
  #downSinceMs: number;
  #isClosed = false;
  #opening: Promise<void> | undefined;

  constructor(options: LocalNodeOptions) {
    this.#options = options;
    this.directory = options.directory;
    this.#downSinceMs = options.clock.nowMs();
    this.#node = missingNode(options.directory, () => this.#reason);
  }

  get engine(): Engine | undefined {
    return this.#engine;
  }

  get state(): LocalNodeState {
    if (this.#engine === undefined) return 'down';
    return this.#engine.failure === undefined ? 'up' : 'failed';
  }

  /** Why it is not up; `undefined` while it is. */
  get reason(): string | undefined {
    if (this.#engine === undefined) return this.#reason;
    return this.#engine.failure?.message;
  }

  get node(): ReplicaNode {
    return this.#node;
  }

  readonly link: ReplicaLink = this.#makeLink();

  #makeLink(): ReplicaLink {
    const own = this;
    return {
      get nodeId() {
        return own.name;
      },
      get node() {
        return own.#node;
      },
      directoryId: () => this.#engine?.directoryId,
      openId: () => this.#engine?.openId,
      isUp: () => this.#engine?.isUp === true,
      refusedSinceMs: () => this.#refusedSinceMs(),
      silentSinceMs: () => undefined,
      abandon: () => undefined,
      mayUsePayloadLater: true,
    };
  }

  #refusedSinceMs(): number | undefined {
    if (this.#engine?.isUp === true) return undefined;
    return this.#downSinceMs;
  }

  /**
   * Opens the directory, or makes it. Errors: those of `openEngine`; `invalid` for a directory of
   * another cluster.
   */
  async open(): Promise<void> {
    const { directory, disk } = this.#options;
    await makeDataDirectory(disk, directory);
    await this.#open();
  }

  /** Records how far the log is, and goes on trying to bring up what is not up. */
  watch(): void {
    this.#options.clock.setTimer(TEND_MS, () => {
      if (this.#isClosed) return;
      this.#opening = this.#tend().finally(() => {
        this.#opening = undefined;
        this.watch();
      });
    });
  }

  /** Why it could not be opened, for status; it is tried again. */
  giveUp(error: unknown): void {
    this.#reason = describeError(error);
    this.#options.log.error(
      { node: this.name, directory: this.directory, reason: this.#reason },
      'a data directory cannot be used; the others go on without it',
    );
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#opening;
    await this.#closeEngine();
  }

  async #open(): Promise<void> {
    const { directory, disk, clock, random, clusterId, history } = this.#options;
    const { resolve, hasCopies } = this.#options;
    const nodeDirectory = join(directory, 'node');
    const engine = await openEngine({
      directory: nodeDirectory,
      ...{ disk, clock, random },
      limits: indexLimits(this.#options.nodeCount),
      judge: (found) => history.judge(found),
      onDamage: hasCopies ? 'degrade' : 'refuse',
      log: this.#engineLog(nodeDirectory),
    });
    try {
      await joinCluster(disk, nodeDirectory, clusterId);
      // Before anybody is served: what is acknowledged from now on is not in any older copy.
      await history.note(engine.directoryState);
    } catch (error) {
      await engine.close();
      throw error;
    }
    this.#engine = engine;
    this.#node = copyingNode(engine, resolve, { clock });
    this.#options.onUp(this);
  }

  #engineLog(directory: string) {
    const { log } = this.#options;
    const fields = () => ({ node: this.name, directory });
    return {
      info: (message: string) => log.info(fields(), message),
      warn: (message: string) => log.warn(fields(), message),
      error: (message: string) => {
        this.#downSinceMs = this.#options.clock.nowMs();
        log.error(fields(), message);
      },
    };
  }

  async #tend(): Promise<void> {
    if (this.state === 'up') await this.#noteState();
    else await this.#retry();
  }

  async #noteState(): Promise<void> {
    const { history, log } = this.#options;
    try {
      await history.note(this.#engine!.directoryState);
    } catch (error) {
      if (!isDroverError(error)) throw error;
      const fields = { node: this.name, reason: describeError(error) };
      log.warn(fields, 'how far the log of a data directory is cannot be recorded now');
    }
  }

  async #retry(): Promise<void> {
    if (this.state === 'failed' && !this.#options.hasCopies) return;
    const { disk, log } = this.#options;
    try {
      await this.#closeEngine();
      const identity = join(this.directory, 'node', 'identity.json');
      if ((await disk.readSmallFile(identity)) === undefined) {
        throw new DroverError('notFound', `${this.directory} holds no node; is its disk mounted?`);
      }
      await this.#open();
      log.info({ node: this.name, directory: this.directory }, 'a data directory is back');
    } catch (error) {
      const reason = describeError(error);
      if (!isExpected(error)) throw error;
      if (reason === this.#reason) return;
      this.#reason = reason;
      const fields = { node: this.name, directory: this.directory, reason };
      log.warn(fields, 'a data directory cannot be used yet');
    }
  }

  async #closeEngine(): Promise<void> {
    const engine = this.#engine;
    if (engine === undefined) return;
    this.#reason = engine.failure?.message ?? 'closed';
    this.#engine = undefined;
    this.#node = missingNode(this.name, () => this.#reason);
    await engine.close();
  }
}

/** A failure of the disk or of what is on it, rather than a bug. */
export function isExpected(error: unknown): boolean {
  return isDroverError(error) || typeof (error as NodeJS.ErrnoException | null)?.code === 'string';
}
