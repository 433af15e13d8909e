/**
 * Checking that a live replica whose node was restarted still has what it acknowledged.
 *
 * A restart shorter than the limits costs nothing but this comparison, unless the node came back
 * with an older content of its directory, or with another directory: then its copy is bad and is
 * taken out at once. Owns: that check. An object that looks different is looked at again while no
 * write of it is under way, before anything is concluded.
 */
import { compareVersions } from '../engine/store-node.ts';
import { describeError, isDroverError } from '../runtime/drover-error.ts';
import { type DivergedObjects, versionOn } from './diverged-objects.ts';
import type { Replica } from './replica.ts';
import { walkAgainstTable } from './version-walk.ts';
import type { VolumeContext } from './volume-context.ts';
import type { Writer } from './writer.ts';

export class RestartCheck {
  readonly #context: VolumeContext;
  readonly #writer: Writer;
  readonly #diverged: DivergedObjects;
  readonly #answerLimitMs: number;

  constructor(
    context: VolumeContext,
    writer: Writer,
    diverged: DivergedObjects,
    answerLimitMs: number,
  ) {
    this.#context = context;
    this.#writer = writer;
    this.#diverged = diverged;
    this.#answerLimitMs = answerLimitMs;
  }

  /** Starts the check of a live replica; a replica that fails it is dropped. */
  start(replica: Replica, openId: string): void {
    const { set, lease, stats } = this.#context;
    replica.openId = openId;
    if (replica.directoryId !== undefined && replica.directoryId !== replica.link.directoryId()) {
      this.#dropBad(replica, 'it came back with another data directory');
      return;
    }
    this.#check(replica).catch((error: unknown) => {
      if (isDroverError(error, 'fenced') && lease.lost === undefined) {
        stats.refusedEpochs += 1;
        lease.lose(`node ${replica.nodeId} was told a higher epoch`);
      } else if (replica.isLive && !set.isOnlyLive(replica)) {
        set.drop(replica, `it was restarted and not compared: ${describeError(error)}`);
      } else {
        // Nobody else can serve; it is looked at again.
        replica.openId = undefined;
      }
    });
  }

  async #check(replica: Replica): Promise<void> {
    const { table, clock, layerId, lease, volumeId, log, volumeName } = this.#context;
    const { node } = replica.link;
    // An older content of its directory may have forgotten the epoch too.
    await node.adoptEpoch(volumeId, lease.epoch);
    const different: number[] = [];
    const limits = { clock, answerLimitMs: this.#answerLimitMs };
    await walkAgainstTable(node, layerId, table, limits, (objectIndex, version) => {
      if (compareVersions(version, table.get(objectIndex)) !== 0) different.push(objectIndex);
    });
    for (const objectIndex of different) {
      if (!replica.isLive) return;
      if (await this.#isWrong(replica, objectIndex)) {
        this.#dropBad(replica, `it was restarted without what it had of object ${objectIndex}`);
        return;
      }
    }
    log.info({ volume: volumeName, node: replica.nodeId }, 'a restarted replica has everything');
  }

  async #isWrong(replica: Replica, objectIndex: number): Promise<boolean> {
    const { gates, table, layerId } = this.#context;
    const openGate = await gates.hold(objectIndex);
    try {
      await this.#writer.quiet(objectIndex);
      if (this.#diverged.get(objectIndex) !== undefined) return false;
      const write = this.#writer.underWay(objectIndex);
      const expected = write?.request.target ?? table.get(objectIndex);
      const version = await versionOn(replica, layerId, objectIndex);
      return compareVersions(version, expected) !== 0;
    } finally {
      openGate();
    }
  }

  #dropBad(replica: Replica, reason: string): void {
    const { set, log, volumeName } = this.#context;
    if (!replica.isLive) return;
    if (set.replicas.length === 1) {
      log.error({ volume: volumeName, node: replica.nodeId, reason }, 'the only copy is damaged');
      return;
    }
    set.drop(replica, reason, true);
  }
}
