/**
 * Comparing the copies of an attached volume, object by object, while it is in use.
 *
 * Owns: what counts as a difference. Versions must be equal, and so must every block: its kind
 * (kinds that read as zeros count as one) and its checksum. A deep comparison also reads every
 * block of every copy and compares the bytes with their checksum; what does not match is reported
 * and then repaired from a good copy, as any read does. Other differences are only reported: which
 * copy is right is decided by the in-sync set and the versions, never here.
 */
import type { ObjectDescription } from '../engine/replica-node.ts';
import { BlockKind, compareVersions } from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import { DroverError, describeError } from '../runtime/drover-error.ts';
import { badBlocks } from './block-checksums.ts';
import type { DivergedObjects } from './diverged-objects.ts';
import { VERIFY_AT_ONCE, VERIFY_NAMED_MAX } from './limits.ts';
import type { Replica } from './replica.ts';
import { objectKey, type VolumeContext } from './volume-context.ts';
import type { Writer } from './writer.ts';

export interface VerifyOptions {
  /** Read and check every block too. */
  readonly isDeep: boolean;
  /** Ends the comparison; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Told of each object. */
  readonly onProgress?: ((progress: VerifyProgress) => void) | undefined;
}

export interface VerifyProgress {
  readonly objects: number;
  /** When it began; more may have been written since. */
  readonly objectsTotal: number;
  readonly differenceCount: number;
}

export interface CopyDifference {
  readonly objectIndex: number;
  readonly nodeId: string;
  readonly what: string;
}

export interface VerifyReport {
  /** The nodes that were compared: those in sync. */
  readonly nodeIds: readonly string[];
  readonly objects: number;
  readonly differences: readonly CopyDifference[];
  /** All of them, also those that are not named. */
  readonly differenceCount: number;
}

export interface VerifyParts {
  readonly context: VolumeContext;
  readonly writer: Writer;
  readonly diverged: DivergedObjects;
  /** Repairs the blocks of an object that do not match their checksum, where a copy has them. */
  readonly heal: (objectIndex: number) => Promise<void>;
}

export async function verifyCopies(
  parts: VerifyParts,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const { set, table, lease } = parts.context;
  const objectsTotal = table.objectCount;
  const differences: CopyDifference[] = [];
  let differenceCount = 0;
  let objects = 0;
  let next = table.nextIndex(0);
  const tell = () => options.onProgress?.({ objects, objectsTotal, differenceCount });
  tell();
  const worker = async () => {
    while (next >= 0) {
      options.signal?.throwIfAborted();
      const objectIndex = next;
      next = table.nextIndex(objectIndex + 1);
      if (!lease.holds()) throw lease.lost!;
      const { found, isDamaged } = await verifyObject(parts, objectIndex, options);
      for (const difference of found) {
        differenceCount += 1;
        if (differences.length < VERIFY_NAMED_MAX) differences.push(difference);
      }
      if (isDamaged) await repair(parts, objectIndex);
      objects += 1;
      tell();
    }
  };
  await Promise.all(Array.from({ length: VERIFY_AT_ONCE }, worker));
  const nodeIds = set.replicas.filter((replica) => replica.isLive).map(({ nodeId }) => nodeId);
  return { nodeIds, objects, differences, differenceCount };
}

/** Where no copy has a block, or none can be reached, it stays as it was reported. */
async function repair({ context, heal }: VerifyParts, objectIndex: number): Promise<void> {
  try {
    await heal(objectIndex);
  } catch (error) {
    if (!(error instanceof DroverError)) throw error;
    const where = { volume: context.volumeName, object: objectIndex, reason: describeError(error) };
    context.log.warn(where, 'an object could not be repaired');
  }
}

/** Holds the object's gate meanwhile, so no write comes between the copies. */
async function verifyObject(
  { context, writer, diverged }: VerifyParts,
  objectIndex: number,
  options: VerifyOptions,
): Promise<{ readonly found: CopyDifference[]; readonly isDamaged: boolean }> {
  await diverged.settle(objectIndex);
  const openGate = await context.gates.hold(objectIndex);
  try {
    await writer.quiet(objectIndex);
    const live = context.set.replicas.filter((replica) => replica.isLive);
    const key = objectKey(context, objectIndex);
    const expected = writer.underWay(objectIndex)?.request.target ?? context.table.get(objectIndex);
    let first: ObjectDescription | undefined;
    const found: CopyDifference[] = [];
    let isDamaged = false;
    for (const replica of live) {
      const { nodeId, link } = replica;
      const note = (what: string) => found.push({ objectIndex, nodeId, what });
      try {
        const description = await link.node.describeObject(key, context.blocksPerObject);
        const { version } = description;
        if (compareVersions(version, expected) !== 0) {
          note(`version ${version.epoch}.${version.seq}, not ${expected.epoch}.${expected.seq}`);
          continue;
        }
        first ??= description;
        const block = firstDifference(first, description);
        if (block >= 0) note(`block ${block} differs from node ${live[0]!.nodeId}`);
        if (!options.isDeep) continue;
        for (const bad of await readDeep(context, replica, objectIndex, description)) {
          note(`block ${bad} does not match its checksum`);
          isDamaged = true;
        }
      } catch (error) {
        if (!(error instanceof DroverError)) throw error;
        if (replica.isLive) note(describeError(error));
        isDamaged ||= options.isDeep && error.kind === 'corrupt';
      }
    }
    return { found, isDamaged };
  } finally {
    openGate();
  }
}

function firstDifference(a: ObjectDescription, b: ObjectDescription): number {
  return a.kinds.findIndex((kind, block) => {
    const isData = kind === BlockKind.data;
    if (isData !== (b.kinds[block] === BlockKind.data)) return true;
    return isData && a.blockCrcs[block] !== b.blockCrcs[block];
  });
}

/** The blocks whose bytes are not what their checksum says. */
async function readDeep(
  context: VolumeContext,
  replica: Replica,
  objectIndex: number,
  description: ObjectDescription,
): Promise<readonly number[]> {
  const { blocksPerObject } = context;
  const into = [Buffer.allocUnsafe(blocksPerObject * BLOCK_BYTES)];
  const result = await replica.link.node.read(
    {
      ...objectKey(context, objectIndex),
      expected: description.version,
      startBlock: 0,
      blockCount: blocksPerObject,
    },
    into,
  );
  return badBlocks(into, result.kinds, description.blockCrcs);
}
