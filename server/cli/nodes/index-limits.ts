/**
 * How much memory the indexes of all store nodes of one process may take together.
 *
 * One node takes 48 MiB for objects that it only reads, starts a checkpoint at 64 MiB of changed
 * ones and makes writes wait at 120 MiB; several nodes share the same. So a process stays within
 * its cache and 256 MiB: 57 MiB of program, about 70 MiB of V8's heap and connections, and this.
 */
import type { EngineLimits } from '../../../store/engine/limits.ts';

const MIB = 1024 * 1024;
const CACHE_BYTES = 48 * MIB;
const CHECKPOINT_BYTES = 64 * MIB;
const PINNED_BYTES_MAX = 120 * MIB;

export function indexLimits(nodeCount: number): Partial<EngineLimits> {
  return {
    cacheBytesMax: Math.floor(CACHE_BYTES / nodeCount),
    checkpointPinnedBytes: Math.floor(CHECKPOINT_BYTES / nodeCount),
    pinnedBytesMax: Math.floor(PINNED_BYTES_MAX / nodeCount),
  };
}
