/**
 * How large the cache is where nobody says: an eighth of the memory, within bounds.
 */
import { totalmem } from 'node:os';

const MIB = 1024 * 1024;
const CACHE_BYTES_DEFAULT_MIN = 256 * MIB;
const CACHE_BYTES_DEFAULT_MAX = 4096 * MIB;

/** Memory that this process may use: the machine's, or less in a control group that limits it. */
export function usableMemoryBytes(): number {
  // Without a limit the system answers 0, or a number larger than any memory.
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

export function defaultCacheBytes(memoryBytes: number): number {
  const eighth = Math.floor(memoryBytes / 8 / MIB) * MIB;
  return Math.min(Math.max(eighth, CACHE_BYTES_DEFAULT_MIN), CACHE_BYTES_DEFAULT_MAX);
}
