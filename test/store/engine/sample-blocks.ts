/**
 * Blocks whose bytes tell which they are, and requests made of them.
 */
import { crc32 } from '@node-rs/crc32';
import {
  BlockKind,
  type Extent,
  type Version,
  type WriteRequest,
} from '../../../store/engine/store-node.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';

/** A model of a block: a hole, zeros, or the data block with this number (1 and up). */
export const HOLE = 0;
export const ZERO = -1;

export function blockBytes(fill: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_BYTES, fill & 0xff);
  bytes.writeUInt32LE(fill, 0);
  bytes.writeUInt32LE(fill, BLOCK_BYTES - 4);
  return bytes;
}

export function version(seq: number, epoch = 1): Version {
  return seq === 0 ? { epoch: 0, seq: 0 } : { epoch, seq };
}

export interface BlockChange {
  readonly block: number;
  readonly content: number;
}

/** Extents, checksums and payload of changed blocks, which are in order. */
export function contentOf(
  changes: readonly BlockChange[],
): Pick<WriteRequest, 'extents' | 'blockCrcs' | 'payload'> {
  const extents: Extent[] = [];
  const payload: Buffer[] = [];
  for (const { block, content } of changes) {
    const kind =
      content === HOLE ? BlockKind.hole : content === ZERO ? BlockKind.zero : BlockKind.data;
    if (kind === BlockKind.data) payload.push(blockBytes(content));
    const last = extents.at(-1);
    if (last?.kind === kind && last.startBlock + last.blockCount === block) {
      extents[extents.length - 1] = { ...last, blockCount: last.blockCount + 1 };
    } else {
      extents.push({ startBlock: block, blockCount: 1, kind });
    }
  }
  return { extents, payload, blockCrcs: Uint32Array.from(payload, (bytes) => crc32(bytes)) };
}

export interface WriteParts {
  readonly volumeId?: number;
  readonly epoch?: number;
  readonly layerId?: number;
  readonly objectIndex?: number;
  readonly base: Version;
  readonly target: Version;
  readonly changes: readonly BlockChange[];
}

export function writeOf(parts: WriteParts): WriteRequest {
  return {
    volumeId: parts.volumeId ?? 1,
    epoch: parts.epoch ?? 1,
    layerId: parts.layerId ?? 1,
    objectIndex: parts.objectIndex ?? 0,
    base: parts.base,
    target: parts.target,
    ...contentOf(parts.changes),
  };
}

/** One data block, as the write that takes an object from `seq - 1` to `seq`. */
export function writeBlock(
  objectIndex: number,
  seq: number,
  block: number,
  content: number,
  epoch = 1,
): WriteRequest {
  return writeOf({
    objectIndex,
    epoch,
    base: version(seq - 1, epoch),
    target: version(seq, epoch),
    changes: [{ block, content }],
  });
}

/** What bytes and kinds read as. */
export function contentRead(kinds: Uint8Array, blockCrcs: Uint32Array, bytes: Buffer): number[] {
  return Array.from(kinds, (kind, i) => {
    if (kind === BlockKind.hole) return HOLE;
    if (kind === BlockKind.zero) return ZERO;
    const block = bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
    const fill = block.readUInt32LE(0);
    const isWhole = block.equals(blockBytes(fill)) && crc32(block) === blockCrcs[i];
    return isWhole ? fill : Number.NaN;
  });
}
