/**
 * The rules that a request's numbers must keep, whatever the state of the node.
 *
 * Owns: the checks at the edge of the engine; inside, they are assumed. Error: `invalid`.
 */
import { BLOCK_BYTES } from '../geometry.ts';
import { DroverError } from '../runtime/drover-error.ts';
import { LISTED_MAX, OBJECT_BLOCKS_MAX } from './limits.ts';
import { BlockKind, type Extent, type ObjectKey, type Version } from './store-node.ts';

const UINT32_MAX = 2 ** 32 - 1;
const UINT48_MAX = 2 ** 48 - 1;

function refuse(what: string): never {
  throw new DroverError('invalid', what);
}

function isUint(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

/** Hot path. */
export function checkKey(key: ObjectKey): void {
  if (!isUint(key.layerId, UINT48_MAX)) refuse(`layer id ${key.layerId}`);
  if (!isUint(key.objectIndex, UINT32_MAX)) refuse(`object index ${key.objectIndex}`);
}

/** Hot path. */
export function checkLease(volumeId: number, epoch: number): void {
  if (!isUint(volumeId, UINT48_MAX)) refuse(`volume id ${volumeId}`);
  if (!isUint(epoch, UINT32_MAX)) refuse(`epoch ${epoch}`);
}

/** Hot path. */
export function checkVersion(version: Version): void {
  if (!isUint(version.epoch, UINT32_MAX) || !isUint(version.seq, Number.MAX_SAFE_INTEGER)) {
    refuse(`version ${version.epoch}.${version.seq}`);
  }
}

/** Hot path. */
export function checkRange(startBlock: number, blockCount: number): void {
  if (
    !isUint(startBlock, OBJECT_BLOCKS_MAX) ||
    !isUint(blockCount, OBJECT_BLOCKS_MAX) ||
    startBlock + blockCount > OBJECT_BLOCKS_MAX
  ) {
    refuse(`blocks ${startBlock} + ${blockCount}`);
  }
}

/** Hot path. Extents in order, and as many checksums and bytes as they say. */
export function checkExtents(
  extents: readonly Extent[],
  blockCrcs: Uint32Array,
  payload: readonly Buffer[],
): void {
  let endBlock = 0;
  let dataBlocks = 0;
  for (let i = 0; i < extents.length; i += 1) {
    const { startBlock, blockCount, kind } = extents[i]!;
    checkRange(startBlock, blockCount);
    if (startBlock < endBlock || blockCount === 0) refuse('extents out of order or empty');
    if (!isUint(kind, BlockKind.data)) refuse(`block kind ${kind}`);
    endBlock = startBlock + blockCount;
    if (kind === BlockKind.data) dataBlocks += blockCount;
  }
  if (blockCrcs.length !== dataBlocks) {
    refuse(`${blockCrcs.length} checksums for ${dataBlocks} data blocks`);
  }
  let bytes = 0;
  for (let i = 0; i < payload.length; i += 1) {
    const { length } = payload[i]!;
    if (length === 0 || length % BLOCK_BYTES !== 0) refuse(`a payload buffer of ${length} bytes`);
    bytes += length;
  }
  if (bytes !== dataBlocks * BLOCK_BYTES) refuse(`${bytes} bytes for ${dataBlocks} data blocks`);
}

/** Hot path. Buffers of whole blocks that hold exactly `blockCount`. */
export function checkInto(into: readonly Buffer[], blockCount: number): void {
  let bytes = 0;
  for (let i = 0; i < into.length; i += 1) {
    const { length } = into[i]!;
    if (length % BLOCK_BYTES !== 0) refuse(`a buffer of ${length} bytes to read into`);
    bytes += length;
  }
  if (bytes !== blockCount * BLOCK_BYTES) refuse(`${bytes} bytes for ${blockCount} blocks`);
}

/** What one answer may list. */
export function checkLimit(limit: number): void {
  if (limit === 0 || !isUint(limit, LISTED_MAX)) refuse(`a limit of ${limit}`);
}

/** Turns a kind and a checksum for each block into extents and the checksums of data blocks. */
export function extentsOf(
  kinds: Uint8Array,
  blockCrcs: Uint32Array,
): { readonly extents: readonly Extent[]; readonly dataCrcs: Uint32Array } {
  if (kinds.length !== blockCrcs.length || kinds.length > OBJECT_BLOCKS_MAX) {
    refuse(`${kinds.length} kinds and ${blockCrcs.length} checksums`);
  }
  const extents: Extent[] = [];
  const dataCrcs: number[] = [];
  let start = 0;
  for (let block = 0; block < kinds.length; block += 1) {
    const kind = kinds[block]!;
    if (!isUint(kind, BlockKind.data)) refuse(`block kind ${kind}`);
    if (kind === BlockKind.data) dataCrcs.push(blockCrcs[block]!);
    if (kinds[block + 1] === kind) continue;
    if (kind !== BlockKind.hole) {
      const blockCount = block + 1 - start;
      extents.push({ startBlock: start, blockCount, kind: kind as BlockKind });
    }
    start = block + 1;
  }
  return { extents, dataCrcs: Uint32Array.from(dataCrcs) };
}
