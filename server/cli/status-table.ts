/**
 * Volumes with their copies, and nodes, as tables for people.
 */
import type {
  ClusterStatus,
  NodeStatus,
  ReplicaStatusMessage,
  VolumeCopies,
} from '../http/status-api.ts';
import { formatDuration } from './duration.ts';
import { formatSize } from './size.ts';
import { left, right, textTable } from './table.ts';

const UNKNOWN = '-';

const VOLUME_COLUMNS = [
  ...[left('VOLUME'), right('SIZE'), left('HOLDER'), left('IN SYNC'), right('BEHIND')],
  ...[left('WRITES'), left('COPIES')],
];
const NODE_COLUMNS = [
  ...[left('NODE'), left('ZONE'), left('STATE'), right('CAPACITY'), right('LIVE'), right('FREE')],
  ...[right('OBJECTS'), left('ADDRESS'), left('LAST SEEN')],
];

function known(value: number | null, format: (value: number) => string = String): string {
  return value === null ? UNKNOWN : format(value);
}

/**
 * `node2 copying, 120 behind, 80 MiB/s, 2s left`, `node2 out (why), 120 behind`; a copy in sync is
 * its node's name.
 */
function replicaText(replica: ReplicaStatusMessage): string {
  const { nodeId, state, reason, objectsBehind, resync } = replica;
  if (state === 'inSync') return nodeId;
  const isAway = resync === null && reason !== '';
  const parts = [`${nodeId} ${state}${isAway ? ` (${reason})` : ''}`];
  if (objectsBehind !== null && objectsBehind > 0) parts.push(`${objectsBehind} behind`);
  if (resync !== null) {
    parts.push(`${formatSize(Math.round(resync.bytesPerSecond))}/s`);
    const { secondsLeft } = resync;
    if (secondsLeft !== null) parts.push(`${formatDuration(Math.ceil(secondsLeft) * 1000)} left`);
  }
  return parts.join(', ');
}

function writesText({ areWritesServed }: VolumeCopies): string {
  if (areWritesServed === null) return UNKNOWN;
  return areWritesServed ? 'served' : 'waiting';
}

export function volumeCopiesTable(volumes: readonly VolumeCopies[]): string {
  const rows = volumes.map((volume) => [
    volume.name,
    formatSize(volume.sizeBytes),
    volume.holder ?? UNKNOWN,
    `${volume.inSyncCopies} of ${volume.copies}`,
    known(volume.objectsBehind),
    writesText(volume),
    volume.replicas.map(replicaText).join('; '),
  ]);
  return textTable(VOLUME_COLUMNS, rows);
}

export function nodeTable(nodes: readonly NodeStatus[]): string {
  const rows = nodes.map((node) => [
    node.nodeId,
    node.zone === '' ? UNKNOWN : node.zone,
    node.reason === null || node.reason === '' ? node.state : `${node.state} (${node.reason})`,
    known(node.capacityBytes, formatSize),
    known(node.liveBytes, formatSize),
    known(node.freeBytes, formatSize),
    known(node.objectCount),
    node.address,
    node.lastSeen ?? UNKNOWN,
  ]);
  return textTable(NODE_COLUMNS, rows);
}

export function statusText({ volumes, nodes }: ClusterStatus): string {
  return `${volumeCopiesTable(volumes)}\n\n${nodeTable(nodes)}`;
}
