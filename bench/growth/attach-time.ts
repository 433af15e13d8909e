/**
 * How long the first client of a volume waits: connecting and the whole NBD handshake, in which
 * Drover attaches the volume.
 */
import { runCommand } from '../process.ts';

export async function connectMs(uri: string): Promise<number> {
  const script = [
    'import nbd, sys, time',
    'h = nbd.NBD()',
    'start = time.monotonic()',
    'h.connect_uri(sys.argv[1])',
    'print("ms", (time.monotonic() - start) * 1000)',
  ].join('\n');
  const output = await runCommand('/usr/bin/python3', ['-c', script, uri]);
  return Number(/ms ([\d.]+)/.exec(output)?.[1]);
}
