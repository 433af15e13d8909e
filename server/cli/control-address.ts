/**
 * Where the control plane is, as people write it: `etcd://HOST:PORT,HOST:PORT`.
 */
import { z } from 'zod';
import { EtcdControl } from '../../store/control/etcd-control.ts';
import { type Clock, pause } from '../../store/runtime/clock.ts';
import { describeError, isDroverError } from '../../store/runtime/drover-error.ts';
import { CommandFailure } from './command-failure.ts';
import { formatTcpAddress, tcpAddressSchema } from './listen-address.ts';
import { valueOption } from './options.ts';
import type { ProgramParts } from './program.ts';

const SCHEME = 'etcd://';
const HINT = 'etcd://HOST:PORT, with commas between several';

export interface ControlAddress {
  /** `HOST:PORT` of each member. */
  readonly endpoints: readonly string[];
}

const controlAddressSchema = z.string().transform((text, context): ControlAddress => {
  const members = text.startsWith(SCHEME) ? text.slice(SCHEME.length).split(',') : [];
  const parsed = members.map((member) => tcpAddressSchema.safeParse(member.trim()));
  const endpoints = parsed.flatMap((one) => (one.success ? [formatTcpAddress(one.data)] : []));
  if (endpoints.length > 0 && endpoints.length === parsed.length) return { endpoints };
  context.addIssue({ code: 'custom', message: HINT });
  return z.NEVER;
});

export function controlOption() {
  return valueOption('--control <url>', `the control plane: ${HINT}`, controlAddressSchema);
}

export function formatControlAddress({ endpoints }: ControlAddress): string {
  return `${SCHEME}${endpoints.join(',')}`;
}

/** etcd and this process are often started together. */
const START_PATIENCE_MS = 60_000;
const RETRY_MS = 1_000;

/** A client that reaches etcd. Error: CommandFailure when it does not within a minute. */
export async function openEtcd(
  address: ControlAddress,
  clock: Clock,
  { log, stop, isStopWanted }: ProgramParts,
): Promise<EtcdControl> {
  const control = new EtcdControl({ endpoints: address.endpoints, clock, log });
  stop.add(
    () => 'the control plane',
    async () => {
      try {
        await control.close();
      } catch (error) {
        // Nothing is lost with it: what was bound to this process ends with its time.
        if (!isDroverError(error)) throw error;
        log.warn({ reason: describeError(error) }, 'the control plane was not told of the end');
      }
    },
  );
  const endMs = clock.nowMs() + START_PATIENCE_MS;
  for (;;) {
    try {
      await control.get('cluster-id');
      return control;
    } catch (error) {
      if (!isDroverError(error, 'unavailable')) throw error;
      const reason = describeError(error);
      if (isStopWanted() || clock.nowMs() > endMs) {
        throw new CommandFailure(`cannot reach ${formatControlAddress(address)}: ${reason}`);
      }
      log.warn({ reason }, 'the control plane cannot be reached yet');
    }
    await pause(RETRY_MS);
  }
}
