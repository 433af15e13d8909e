/**
 * How far a comparison of copies is, for who watches it on a terminal: one line that is written
 * over, on stderr, so that the report alone is on stdout.
 */
import { systemClock } from '../../store/runtime/clock.ts';
import type { VerifyProgressMessage } from '../http/verify-stream.ts';
import { formatDuration } from './duration.ts';

/** Back to the start of the line, and the line cleared. */
const START_OF_LINE = '\r\x1b[K';

/** `elapsedMs` since the comparison of the first object. */
export function progressText(progress: VerifyProgressMessage | null, elapsedMs: number): string {
  if (progress === null) return 'waiting until the volume is attached and flushed';
  const { objects, objectsTotal, differenceCount } = progress;
  const total = Math.max(objects, objectsTotal);
  const percent = total === 0 ? 100 : Math.floor((100 * objects) / total);
  const parts = [
    `compared ${objects} of ${total} objects (${percent}%)`,
    `${differenceCount} differences`,
  ];
  if (objects > 0) {
    const leftMs = (elapsedMs / objects) * (total - objects);
    parts.push(`${formatDuration(Math.ceil(leftMs / 1000) * 1000)} left`);
  }
  return parts.join(', ');
}

export class VerifyProgressLine {
  readonly #output: NodeJS.WriteStream;
  #begunMs: number | undefined;

  constructor(output: NodeJS.WriteStream) {
    this.#output = output;
  }

  show(progress: VerifyProgressMessage | null): void {
    if (!this.#output.isTTY) return;
    const nowMs = systemClock.nowMs();
    if (progress !== null) this.#begunMs ??= nowMs;
    const text = progressText(progress, nowMs - (this.#begunMs ?? nowMs));
    this.#output.write(`${START_OF_LINE}${text}`);
  }

  clear(): void {
    if (this.#output.isTTY) this.#output.write(START_OF_LINE);
  }
}
