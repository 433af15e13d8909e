/**
 * Ways to spoil files of a simulated node while it is down, and to find out what they hold.
 */
import { join } from 'node:path';
import {
  decodeRecords,
  outlineBatch,
  type SegmentStamp,
} from '../../../store/engine/batch-decoder.ts';
import { decodeSegmentHeader } from '../../../store/engine/segment-header.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import type { SimInode } from '../../sim/sim-file.ts';
import { DIRECTORY, type SimulatedNode, SMALL_LIMITS } from './simulated-node.ts';

const SEGMENT_BLOCKS = SMALL_LIMITS.segmentBytes! / BLOCK_BYTES;

export interface FoundBatch {
  readonly path: string;
  readonly position: number;
  readonly headerBlocks: number;
  readonly payloadBlocks: number;
  readonly batchSeq: number;
}

export function segmentPaths(node: SimulatedNode): string[] {
  return node.disk.paths().filter((path) => path.endsWith('.seg'));
}

/** Every whole batch on the disk, by its number. */
export function findBatches(node: SimulatedNode): FoundBatch[] {
  const found: FoundBatch[] = [];
  for (const path of segmentPaths(node)) {
    const { current } = node.disk.contentOf(path);
    const header = decodeSegmentHeader(current.at(0, BLOCK_BYTES));
    if (header !== undefined) found.push(...batchesOf(path, current, header));
  }
  return found.sort((a, b) => a.batchSeq - b.batchSeq);
}

function batchesOf(path: string, content: SimInode['current'], stamp: SegmentStamp): FoundBatch[] {
  const found: FoundBatch[] = [];
  for (let position = 1; position < SEGMENT_BLOCKS; position += 1) {
    const bytes = content.at(position * BLOCK_BYTES, SEGMENT_BLOCKS * BLOCK_BYTES);
    const outline = outlineBatch(bytes, stamp, position, SEGMENT_BLOCKS);
    if (outline === undefined || decodeRecords(bytes, stamp, outline) === undefined) continue;
    const { batchSeq, headerBlocks, payloadBlocks } = outline;
    found.push({ path, position, headerBlocks, payloadBlocks, batchSeq });
  }
  return found;
}

/** Overwrites bytes of a file, as if they had always been there. */
export function overwrite(
  node: SimulatedNode,
  path: string,
  offsetBytes: number,
  bytes: Buffer,
): void {
  node.disk.contentOf(path).write(bytes, offsetBytes, true);
}

export function flipByte(node: SimulatedNode, path: string, offsetBytes: number): void {
  const { current } = node.disk.contentOf(path);
  const flipped = (current.at(offsetBytes, 1)[0] ?? 0) ^ 0x40;
  overwrite(node, path, offsetBytes, Buffer.of(flipped));
}

export function cutFile(node: SimulatedNode, path: string, sizeBytes: number): void {
  const inode = node.disk.contentOf(path);
  inode.truncate(sizeBytes);
  inode.sync(inode.changes.length);
}

export function identityPath(): string {
  return join(DIRECTORY, 'identity.json');
}
