/**
 * What `drover store` can be told, and what it does where it is told nothing.
 */
import type { Command } from 'commander';
import { z } from 'zod';
import { type ControlAddress, controlOption } from './control-address.ts';
import { type LogLevel, logLevelOption } from './disk-config.ts';
import { formatTcpAddress, type TcpAddress, tcpAddressSchema } from './listen-address.ts';
import { nodeIdSchema } from './nodes/node-record.ts';
import { valueOption } from './options.ts';
import { sizeSchema } from './size.ts';

export interface StoreConfig {
  readonly id: string;
  readonly dataDirectory: string;
  readonly listen: TcpAddress;
  /** Where gateways and other nodes reach it; `undefined`: where it listens. */
  readonly advertise: TcpAddress | undefined;
  readonly control: ControlAddress;
  readonly zone: string;
  readonly http: TcpAddress | undefined;
  readonly capacityBytes: number | undefined;
  readonly logLevel: LogLevel;
}

const GIB = 1024 ** 3;
const CAPACITY_BYTES_MAX = 1024 ** 5;

export function addStoreOptions(command: Command): Command {
  return command
    .addOption(
      valueOption(
        '--id <id>',
        'the name of this node; no two may have the same',
        nodeIdSchema,
      ).makeOptionMandatory(),
    )
    .addOption(
      valueOption(
        '--data <dir>',
        'where everything is kept',
        z.string().min(1, 'the path of a directory'),
      ).makeOptionMandatory(),
    )
    .addOption(
      valueOption(
        '--listen <address>',
        'where to serve gateways and other nodes: HOST:PORT',
        tcpAddressSchema,
      ).makeOptionMandatory(),
    )
    .addOption(controlOption().makeOptionMandatory())
    .addOption(
      valueOption(
        '--advertise <address>',
        'where gateways and other nodes reach this node (default: where it listens)',
        tcpAddressSchema,
      ),
    )
    .addOption(
      valueOption(
        '--zone <zone>',
        'what fails together: copies of a volume lie in different zones (default: the id)',
        nodeIdSchema,
      ),
    )
    .addOption(
      valueOption(
        '--http <address>',
        'where to serve health and metrics (default: nowhere)',
        tcpAddressSchema,
      ),
    )
    .addOption(
      valueOption(
        '--capacity <size>',
        'what the data may take (default: what the filesystem has)',
        sizeSchema(GIB / 2, CAPACITY_BYTES_MAX),
      ),
    )
    .addOption(logLevelOption());
}

interface StoreOptions {
  readonly id: string;
  readonly data: string;
  readonly listen: TcpAddress;
  readonly control: ControlAddress;
  readonly advertise?: TcpAddress;
  readonly zone?: string;
  readonly http?: TcpAddress;
  readonly capacity?: number;
  readonly logLevel: LogLevel;
}

const ANY_HOST = /^(?:0\.0\.0\.0|::)$/;

export function readStoreConfig(command: Command): StoreConfig {
  const options = command.opts<StoreOptions>();
  const { listen, advertise } = options;
  if (advertise === undefined && ANY_HOST.test(listen.host)) {
    const given = formatTcpAddress(listen);
    command.error(
      `error: option '--listen <address>' value '${given}' is nothing that others can connect to. Allowed: together with --advertise HOST:PORT.`,
    );
  }
  return {
    id: options.id,
    dataDirectory: options.data,
    listen,
    advertise,
    control: options.control,
    zone: options.zone ?? options.id,
    http: options.http,
    capacityBytes: options.capacity,
    logLevel: options.logLevel,
  };
}
