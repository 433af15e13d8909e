/**
 * The resident memory of another process, as the kernel counts it.
 */
import { readFileSync } from 'node:fs';

function statusBytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const match = status.match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'));
  if (match === null) throw new Error(`process ${pid} has no ${field}`);
  return Number(match[1]) * 1024;
}

export function residentBytes(pid: number): number {
  return statusBytes(pid, 'VmRSS');
}

/** The most it ever was. */
export function residentBytesPeak(pid: number): number {
  return statusBytes(pid, 'VmHWM');
}
