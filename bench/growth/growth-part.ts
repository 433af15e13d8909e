/**
 * What the parts of the growth campaign share: their shape, their sizes, their time.
 */
import path from 'node:path';
import type { ClusterStartOptions, RunningDrover } from '../drover-servers.ts';
import { startCluster, startEmbedded } from '../drover-servers.ts';
import { memoryOf } from '../process.ts';
import type { GrowthPoint, Measure, Target } from './growth-report.ts';

/** How large the campaign is: as it is meant, or small to see that it works. */
export interface GrowthScale {
  readonly name: 'full' | 'small';
  readonly volumeBytes: readonly number[];
  /** Data blocks of each generated volume. */
  readonly dataBlocks: number;
  readonly seconds: number;
  readonly writeRounds: number;
  readonly attachments: number;
  readonly volumeCounts: readonly number[];
  readonly connectionCounts: readonly number[];
  /** Of the node whose start is timed. */
  readonly objects: number;
  readonly starts: number;
  readonly cleaningCapacity: string;
  readonly cleaningSeconds: number;
}

const GIB = 2 ** 30;
const TIB = 2 ** 40;

export const GROWTH_SCALES: Readonly<Record<GrowthScale['name'], GrowthScale>> = {
  full: {
    name: 'full',
    volumeBytes: [GIB, 100 * GIB, TIB, 64 * TIB],
    dataBlocks: 262_144,
    seconds: 3,
    writeRounds: 3,
    attachments: 3,
    volumeCounts: [1, 64],
    connectionCounts: [1, 4, 16, 64, 256],
    objects: 1_048_576,
    starts: 3,
    cleaningCapacity: '4G',
    cleaningSeconds: 15,
  },
  small: {
    name: 'small',
    volumeBytes: [GIB, TIB],
    dataBlocks: 16_384,
    seconds: 1,
    writeRounds: 1,
    attachments: 1,
    volumeCounts: [1, 8],
    connectionCounts: [1, 16],
    objects: 32_768,
    starts: 1,
    cleaningCapacity: '1G',
    cleaningSeconds: 3,
  },
};

export interface GrowthContext {
  readonly scale: GrowthScale;
  /** Of this part alone; it is removed afterwards. */
  readonly directory: string;
  /** Throws when the time of the campaign is over; asked before each point. */
  checkTime(): void;
  /** Whether the point was chosen; asked by parts whose points are measured one by one. */
  isWanted(series: string, at: string): boolean;
  note(text: string): void;
  add(point: GrowthPoint): void;
}

export interface GrowthPart {
  readonly name: string;
  readonly title: string;
  readonly method: string;
  readonly axis: string;
  readonly measures: readonly Measure[];
  run(context: GrowthContext): Promise<void>;
  targets(points: readonly GrowthPoint[]): Target[];
}

/** A way to run Drover that a part is measured in. */
export interface Arrangement {
  readonly name: string;
  readonly copies: number;
  start(options: ClusterStartOptions): Promise<RunningDrover>;
}

export const EMBEDDED_ONE: Arrangement = {
  name: 'embedded, one copy',
  copies: 1,
  start: (options) => startEmbedded({ ...options, copies: 1 }),
};
export const EMBEDDED_THREE: Arrangement = {
  name: 'embedded, three copies',
  copies: 3,
  start: (options) => startEmbedded({ ...options, copies: 3 }),
};
export const CLUSTER: Arrangement = { name: 'cluster', copies: 3, start: startCluster };

/** A directory of a server's own, without the commas that separate directories of an option. */
export function directoryOf({ directory }: GrowthContext, series: string, at: string): string {
  return path.join(directory, `${series} ${at}`.replaceAll(/\W+/g, '-'));
}

export const MIB = 2 ** 20;

export function formatBytes(bytes: number): string {
  return bytes >= TIB ? `${bytes / TIB} TiB` : `${bytes / GIB} GiB`;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Memory by role, in MiB: `processRss`, `gatewayRss`, `nodesRss`, and the same `…Anon`. */
export function memoryFigures(server: RunningDrover): Record<string, number> {
  return Object.fromEntries(
    server.roles.flatMap(({ role, pids }) => {
      const { residentBytes, anonymousBytes } = memoryOf(pids);
      return [
        [`${role}Rss`, residentBytes / MIB],
        [`${role}Anon`, anonymousBytes / MIB],
      ];
    }),
  );
}

export function figureAt(
  points: readonly GrowthPoint[],
  series: string,
  at: string,
  key: string,
): number | undefined {
  return points.find((point) => point.series === series && point.at === at)?.figures[key];
}
