/**
 * The options that `drover serve` and `drover gateway` share: where disks are served, how their
 * copies are kept, and what happens when nodes fail.
 */
import type { Command } from 'commander';
import { z } from 'zod';
import { volumeNameSchema } from '../../store/control/volume-record.ts';
import { BLOCK_BYTES, VOLUME_BYTES_MAX } from '../../store/geometry.ts';
import { REPLICATION_TIMES, RESYNC_BYTES_PER_SECOND } from '../../store/replication/limits.ts';
import { CACHE_BYTES_MIN } from '../cache/limits.ts';
import { defaultCacheBytes, usableMemoryBytes } from './default-cache.ts';
import { durationSchema, formatDuration } from './duration.ts';
import {
  type ListenAddress,
  listenAddressSchema,
  type TcpAddress,
  tcpAddressSchema,
} from './listen-address.ts';
import { listOption, valueOption } from './options.ts';
import { formatSize, sizeSchema } from './size.ts';

export interface VolumeWish {
  readonly name: string;
  readonly sizeBytes: number;
}

export interface CopyConfig {
  /** Of new volumes; `undefined`: as many as fit, up to three. */
  readonly copies: number | undefined;
  readonly minInSync: number | undefined;
  readonly silentLimitMs: number;
  readonly refusedLimitMs: number;
  readonly stallTimeoutMs: number | undefined;
  readonly resyncBytesPerSecond: number;
}

export interface DiskConfig {
  readonly nbd: readonly ListenAddress[];
  readonly http: TcpAddress;
  /** Made where they do not exist. */
  readonly volumes: readonly VolumeWish[];
  readonly cacheBytes: number;
  readonly copy: CopyConfig;
  readonly logLevel: LogLevel;
}

const NBD_DEFAULT = '127.0.0.1:10809';
const HTTP_DEFAULT = '127.0.0.1:9809';
export const VOLUME_DEFAULT: VolumeWish = { name: 'disk0', sizeBytes: 10 * 1024 ** 3 };
const CACHE_BYTES_MAX = 1024 ** 4;
const COPIES_MAX = 16;
const MIB = 1024 * 1024;

const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];
const logLevelSchema = z.enum(logLevels, { error: logLevels.join(', ') });

const volumeSizeText = sizeSchema(BLOCK_BYTES, VOLUME_BYTES_MAX);
const countSchema = z
  .string()
  .regex(/^\d{1,2}$/, `a number from 1 to ${COPIES_MAX}`)
  .transform(Number)
  .pipe(z.int().min(1, `a number from 1 to ${COPIES_MAX}`).max(COPIES_MAX));

/** `NAME=SIZE`, each part judged by its own schema. */
const volumeWishSchema = z.string().transform((text, context): VolumeWish => {
  const separator = text.indexOf('=');
  const name = volumeNameSchema.safeParse(text.slice(0, Math.max(separator, 0)));
  const size = volumeSizeText.safeParse(text.slice(separator + 1));
  if (separator > 0 && name.success && size.success) {
    return { name: name.data, sizeBytes: size.data };
  }
  const wrong = separator > 0 ? (name.error ?? size.error) : undefined;
  const part = name.success ? 'SIZE' : 'NAME';
  const message =
    wrong === undefined ? 'NAME=SIZE, as in disk0=10G' : `${part} is ${wrong.issues[0]!.message}`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});

export function logLevelOption() {
  return valueOption('--log-level <level>', logLevels.join(', '), logLevelSchema).default('info');
}

/** `volumeDefault` says what is made when none is asked for. */
export function addDiskOptions(command: Command, volumeDefault: string): Command {
  const cacheDefault = formatSize(defaultCacheBytes(usableMemoryBytes()));
  return command
    .addOption(
      listOption(
        '--nbd <address>',
        `where to serve NBD: HOST:PORT or unix:PATH; may be repeated (default: ${NBD_DEFAULT})`,
        listenAddressSchema,
      ),
    )
    .addOption(
      valueOption(
        '--http <address>',
        `where to serve health, metrics and the volume API (default: ${HTTP_DEFAULT})`,
        tcpAddressSchema,
      ),
    )
    .addOption(
      listOption(
        '--volume <name=size>',
        `a volume to make if there is none of this name; may be repeated${volumeDefault}`,
        volumeWishSchema,
      ),
    )
    .addOption(
      valueOption(
        '--cache <size>',
        `memory for the cache (default: an eighth of the memory, 256M to 4G; here ${cacheDefault})`,
        sizeSchema(CACHE_BYTES_MIN, CACHE_BYTES_MAX),
      ),
    )
    .addOption(logLevelOption());
}

export function addCopyOptions(command: Command, copiesDefault: string): Command {
  const { silentLimitMs, refusedLimitMs } = REPLICATION_TIMES;
  return command
    .addOption(
      valueOption(
        '--copies <n>',
        `copies of a new volume (default: ${copiesDefault})`,
        countSchema,
      ),
    )
    .addOption(
      valueOption(
        '--min-in-sync <n>',
        'copies of a new volume without which writes wait (default: a majority; 1 of 2)',
        countSchema,
      ),
    )
    .addOption(
      valueOption(
        '--silence-limit <time>',
        `a node that owes an answer for so long is taken out (default: ${formatDuration(silentLimitMs)})`,
        durationSchema(100, 600_000),
      ),
    )
    .addOption(
      valueOption(
        '--refusal-limit <time>',
        `a node that refuses connections for so long is taken out (default: ${formatDuration(refusedLimitMs)})`,
        durationSchema(0, 600_000),
      ),
    )
    .addOption(
      valueOption(
        '--stall-timeout <time>',
        'requests that wait for copies fail after this (default: they wait)',
        durationSchema(1000, 86_400_000),
      ),
    )
    .addOption(
      valueOption(
        '--resync-rate <size>',
        `what one returning copy is sent in a second (default: ${formatSize(RESYNC_BYTES_PER_SECOND)})`,
        sizeSchema(MIB, 1024 ** 4),
      ),
    );
}

interface DiskOptions {
  readonly nbd?: readonly ListenAddress[];
  readonly http?: TcpAddress;
  readonly volume?: readonly VolumeWish[];
  readonly cache?: number;
  readonly logLevel: LogLevel;
  readonly copies?: number;
  readonly minInSync?: number;
  readonly silenceLimit?: number;
  readonly refusalLimit?: number;
  readonly stallTimeout?: number;
  readonly resyncRate?: number;
}

export function readDiskConfig(command: Command): DiskConfig {
  const options = command.opts<DiskOptions>();
  return {
    nbd: options.nbd ?? [listenAddressSchema.parse(NBD_DEFAULT)],
    http: options.http ?? tcpAddressSchema.parse(HTTP_DEFAULT),
    volumes: options.volume ?? [],
    cacheBytes: options.cache ?? defaultCacheBytes(usableMemoryBytes()),
    copy: {
      copies: options.copies,
      minInSync: options.minInSync,
      silentLimitMs: options.silenceLimit ?? REPLICATION_TIMES.silentLimitMs,
      refusedLimitMs: options.refusalLimit ?? REPLICATION_TIMES.refusedLimitMs,
      stallTimeoutMs: options.stallTimeout,
      resyncBytesPerSecond: options.resyncRate ?? RESYNC_BYTES_PER_SECOND,
    },
    logLevel: options.logLevel,
  };
}
