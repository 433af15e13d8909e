/**
 * Giving back the space of volumes that are gone, on one node.
 *
 * Owns: when. A volume's record goes first; its layer follows here when the removal is heard of,
 * once more a little later (a write that was on its way may have made the layer again), and
 * regularly, which finds what was removed while the node was away.
 */
import type { ControlPlane } from '../../../store/control/control-plane.ts';
import type { VolumeDirectory } from '../../../store/control/volume-directory.ts';
import { VOLUMES_PREFIX } from '../../../store/control/volume-record.ts';
import { type Clock, sleep } from '../../../store/runtime/clock.ts';
import { DroverError, describeError } from '../../../store/runtime/drover-error.ts';
import type { Logger } from '../../../store/runtime/logger.ts';
import { type LayerKeeper, removeUnknownLayers } from '../../volume/layer-removal.ts';

/** Half of the minute within which deleted data is gone. */
const SWEEP_INTERVAL_MS = 20_000;
const SWEEP_AGAIN_MS = 2_000;

export interface LayerSweepOptions {
  readonly nodeId: string;
  /** `undefined` while the node is not there. */
  readonly node: () => LayerKeeper | undefined;
  readonly control: Pick<ControlPlane, 'watch'>;
  readonly directory: VolumeDirectory;
  readonly clock: Clock;
  readonly log: Logger;
}

export class LayerSweep {
  readonly #options: LayerSweepOptions;
  #endWatch: (() => void) | undefined;
  #isStopped = false;
  #sweeping: Promise<void> | undefined;
  #isWanted = false;

  constructor(options: LayerSweepOptions) {
    this.#options = options;
  }

  /** Error: `unavailable`. */
  async start(): Promise<void> {
    const { control, clock } = this.#options;
    this.#endWatch = await control.watch(VOLUMES_PREFIX, ({ record }) => {
      if (record !== undefined) return;
      this.sweep();
      clock.setTimer(SWEEP_AGAIN_MS, () => this.sweep());
    });
    this.#again();
    this.sweep();
  }

  /** Resolves when nothing is removed any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endWatch?.();
    await this.#sweeping;
  }

  /** Sweeps now, or again after the sweep that is under way. */
  sweep(): void {
    if (this.#isStopped) return;
    this.#isWanted = true;
    this.#sweeping ??= this.#sweepWhileWanted().finally(() => {
      this.#sweeping = undefined;
    });
  }

  #again(): void {
    this.#options.clock.setTimer(SWEEP_INTERVAL_MS, () => {
      if (this.#isStopped) return;
      this.sweep();
      this.#again();
    });
  }

  async #sweepWhileWanted(): Promise<void> {
    while (this.#isWanted && !this.#isStopped) {
      this.#isWanted = false;
      await this.#sweepOnce();
      // Volumes are often removed in numbers.
      await sleep(this.#options.clock, 1);
    }
  }

  async #sweepOnce(): Promise<void> {
    const { nodeId, node, directory, log } = this.#options;
    const keeper = node();
    if (keeper === undefined) return;
    try {
      const layers = await removeUnknownLayers(keeper, directory);
      if (layers.length > 0) log.info({ node: nodeId, layers }, 'removed what was left of volumes');
    } catch (error) {
      if (!(error instanceof DroverError)) throw error;
      const fields = { node: nodeId, reason: describeError(error) };
      log.warn(fields, 'the space of removed volumes is given back later');
    }
  }
}
