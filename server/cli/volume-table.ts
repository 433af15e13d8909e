/**
 * Volumes as a table for people.
 */
import type { VolumeStatus } from '../http/volume-api.ts';
import { formatSize } from './size.ts';
import { left, right, textTable } from './table.ts';

/** Access as it is shown, and as it is given. */
export const READ_ONLY = 'read-only';
export const READ_WRITE = 'read-write';

const COLUMNS = [
  ...[left('NAME'), right('SIZE'), right('OBJECTS'), left('ACCESS'), left('USE'), right('DIRTY')],
];

function use(volume: VolumeStatus): string {
  if (volume.clientCount > 0) return `${volume.clientCount} connected`;
  return volume.isAttached ? 'attached' : 'idle';
}

export function volumeTable(volumes: readonly VolumeStatus[]): string {
  const rows = volumes.map((volume) => [
    volume.name,
    formatSize(volume.sizeBytes),
    formatSize(volume.objectBytes),
    volume.isReadOnly ? READ_ONLY : READ_WRITE,
    use(volume),
    formatSize(volume.dirtyBytes),
  ]);
  return textTable(COLUMNS, rows);
}
