/**
 * What kept a server from starting, in one line.
 */
import { describeError, isDroverError } from '../../store/runtime/drover-error.ts';
import { CommandFailure } from './command-failure.ts';

const LISTEN_FAILURES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use',
  EACCES: 'permission denied',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'unknown host name',
  EAI_AGAIN: 'the host name cannot be resolved now',
  ENOENT: 'no such directory',
};

/** The code of an error of the operating system, `undefined` for anything else. */
function systemCode(error: unknown): string | undefined {
  const { errno, code } = (error ?? {}) as NodeJS.ErrnoException;
  return typeof errno === 'number' ? code : undefined;
}

/** `listen`, with a failure that names the option and the address; a bug stays as it is. */
export async function listening<T>(
  option: string,
  address: string,
  listen: Promise<T>,
): Promise<T> {
  try {
    return await listen;
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined && !isDroverError(error)) throw error;
    const reason = LISTEN_FAILURES[code ?? ''] ?? describeError(error);
    throw new CommandFailure(`cannot listen on ${address} (${option}): ${reason}`);
  }
}

/** `open`, with a failure that says what could not be opened; a bug stays as it is. */
export async function opening<T>(what: string, open: Promise<T>): Promise<T> {
  try {
    return await open;
  } catch (error) {
    if (!isDroverError(error) && systemCode(error) === undefined) throw error;
    throw new CommandFailure(`cannot open ${what}: ${describeError(error)}`);
  }
}
