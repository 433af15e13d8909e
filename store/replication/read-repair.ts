/**
 * Repair of blocks that one copy has with wrong bytes, from the bytes of a good copy.
 *
 * Owns: what is sent to the bad copy. A repair changes no version and is refused by the node if the
 * object has moved on; a bad block that is left is found again by its next read.
 */
import { BlockKind, compareVersions } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import { DroverError, describeError, isDroverError } from '../runtime/drover-error.ts';
import { blockChecksums } from './block-checksums.ts';
import type { BadRange, PendingRead } from './pending-read.ts';
import { objectKey, type VolumeContext } from './volume-context.ts';

/**
 * Sends the good bytes, which are copied before this returns, to every copy that was found bad.
 * Never rejects; what fails is logged.
 */
export function repairBlocks(
  context: VolumeContext,
  read: PendingRead,
  kinds: Uint8Array,
): Promise<void> {
  const good = Buffer.concat(read.into);
  const repairs = read.bad.flatMap((range) =>
    goodRuns(read, range, kinds).map(([first, end]) =>
      repairRun(context, read, range, first, good.subarray(first * BLOCK_BYTES, end * BLOCK_BYTES)),
    ),
  );
  return Promise.all(repairs).then(() => undefined);
}

/**
 * Runs of data blocks within a bad range that were read at the version of the bad copy, as
 * [first, endExclusive]: bytes of another version would make two of one version differ.
 */
function goodRuns(read: PendingRead, range: BadRange, kinds: Uint8Array): [number, number][] {
  const runs: [number, number][] = [];
  const endExclusive = range.firstBlock + range.blockCount;
  for (let block = range.firstBlock; block < endExclusive; block++) {
    const version = read.blockVersions === undefined ? read.version : read.blockVersions[block];
    const isSame = version !== undefined && compareVersions(version, range.expected) === 0;
    if (!isSame || kinds[block] !== BlockKind.data) continue;
    const last = runs.at(-1);
    if (last !== undefined && last[1] === block) last[1] = block + 1;
    else runs.push([block, block + 1]);
  }
  return runs;
}

async function repairRun(
  context: VolumeContext,
  read: PendingRead,
  range: BadRange,
  firstBlock: number,
  bytes: Buffer,
): Promise<void> {
  const { lease, log, volumeName, volumeId } = context;
  const { replica } = range;
  const { nodeId, link } = replica;
  const where = { volume: volumeName, node: nodeId, object: read.objectIndex };
  try {
    await link.node.repair({
      ...objectKey(context, read.objectIndex),
      volumeId,
      epoch: lease.epoch,
      version: range.expected,
      startBlock: read.startBlock + firstBlock,
      blockCrcs: blockChecksums([bytes]),
      payload: [bytes],
    });
    replica.repairs += 1;
    log.info({ ...where, blocks: bytes.length / BLOCK_BYTES }, 'blocks were repaired');
  } catch (error) {
    if (!(error instanceof DroverError)) throw error;
    if (isDroverError(error, 'fenced')) lease.lose(`node ${nodeId} was told a higher epoch`);
    log.warn({ ...where, reason: describeError(error) }, 'blocks could not be repaired');
  }
}
