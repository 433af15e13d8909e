/**
 * A program of its own: fills one store node's directory with the objects of a large volume.
 *
 * `generate-node.ts DIRECTORY VOLUME_ID OBJECT_BYTES VOLUME_BYTES SPACING_BYTES`: a block of data at
 * every multiple of the spacing, the rest of these objects allocated zeros; objects without a data
 * block are not made. The engine itself writes them, as it would for a gateway: records, checksums,
 * group commits, checkpoints. Every node that is filled so has the same bytes and versions, as
 * copies must. The volume must not be attached meanwhile.
 */
import { createHash } from 'node:crypto';
import { crc32 } from '@node-rs/crc32';
import { openEngine } from '../../store/engine/open-engine.ts';
import { BlockKind, type Extent, VERSION_NONE } from '../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../store/geometry.ts';
import { systemClock } from '../../store/runtime/clock.ts';
import { isDroverError } from '../../store/runtime/drover-error.ts';
import { systemRandom } from '../../store/runtime/random.ts';
import { realDisk } from '../../store/runtime/real-disk.ts';

/** Enough for full group commits, little beside the engine's own limit of 65,536. */
const WRITES_IN_FLIGHT_MAX = 2048;
const EPOCH_TRIES_MAX = 1000;
const VERSION = { epoch: 1, seq: 1 };
const CONTENTS = 256;

const [directory, ...numbers] = process.argv.slice(2);
const [volumeId, objectBytes, volumeBytes, spacingBytes] = numbers.map(Number);
if (directory === undefined || spacingBytes === undefined) throw new Error('five arguments');

/** Blocks that cannot be compressed or shared, the same in every process. */
const contents = Array.from({ length: CONTENTS }, (_, n) => {
  const hash = createHash('shake256', { outputLength: BLOCK_BYTES });
  const bytes = hash.update(`content ${n}`).digest();
  return { bytes, crc: crc32(bytes) };
});

const engine = await openEngine({
  directory,
  disk: realDisk,
  clock: systemClock,
  random: systemRandom,
});

/** The lowest epoch that the node accepts: the one it was told, or the first. */
async function acceptedEpoch(): Promise<number> {
  for (let epoch = 1; epoch <= EPOCH_TRIES_MAX; epoch += 1) {
    try {
      await engine.adoptEpoch(volumeId!, epoch);
      return epoch;
    } catch (error) {
      if (!isDroverError(error, 'fenced')) throw error;
    }
  }
  throw new Error(`${directory} was told more than ${EPOCH_TRIES_MAX} epochs`);
}

interface Content {
  readonly extents: Extent[];
  readonly blockCrcs: Uint32Array;
  readonly payload: Buffer[];
}

/** `undefined` for an object without a data block. */
function contentOf(objectIndex: number): Content | undefined {
  const start = objectIndex * objectBytes!;
  const end = Math.min(start + objectBytes!, volumeBytes!);
  const extents: Extent[] = [];
  const crcs: number[] = [];
  const payload: Buffer[] = [];
  const add = (startByte: number, endByte: number, kind: BlockKind): void => {
    const startBlock = (startByte - start) / BLOCK_BYTES;
    const blockCount = (endByte - startByte) / BLOCK_BYTES;
    if (blockCount > 0) extents.push({ startBlock, blockCount, kind });
  };
  let doneTo = start;
  for (let at = Math.ceil(start / spacingBytes!) * spacingBytes!; at < end; at += spacingBytes!) {
    add(doneTo, at, BlockKind.zero);
    add(at, at + BLOCK_BYTES, BlockKind.data);
    const { bytes, crc } = contents[(at / spacingBytes!) % CONTENTS]!;
    crcs.push(crc);
    payload.push(bytes);
    doneTo = at + BLOCK_BYTES;
  }
  if (payload.length === 0) return undefined;
  add(doneTo, end, BlockKind.zero);
  return { extents, blockCrcs: Uint32Array.from(crcs), payload };
}

const epoch = await acceptedEpoch();
const objectCount = Math.ceil(volumeBytes! / objectBytes!);
const strideObjects = Math.max(1, Math.floor(spacingBytes / objectBytes!));
let next = 0;
let made = 0;

async function writeObjects(): Promise<void> {
  while (next < objectCount) {
    const objectIndex = next;
    next += strideObjects;
    const content = contentOf(objectIndex);
    if (content === undefined) continue;
    made += 1;
    const scope = { volumeId: volumeId!, epoch, layerId: volumeId! };
    await engine.write({ ...scope, objectIndex, base: VERSION_NONE, target: VERSION, ...content });
  }
}

await Promise.all(Array.from({ length: WRITES_IN_FLIGHT_MAX }, writeObjects));
await engine.close();
process.stdout.write(`${made} objects\n`);
