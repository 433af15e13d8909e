/**
 * Durations as people write them: `500ms`, `5s`, `2m`.
 */
import { z } from 'zod';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };
const DURATION = /^(\d+(?:\.\d+)?)\s*(ms|s|m)$/i;

/** A duration between the bounds, in milliseconds; the message names them. */
export function durationSchema(minMs: number, maxMs: number) {
  const range = `from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return z.string().transform((text, context): number => {
    const match = text.trim().match(DURATION);
    const durationMs =
      match === null ? Number.NaN : Number(match[1]) * UNIT_MS[match[2]!.toLowerCase()]!;
    if (durationMs >= minMs && durationMs <= maxMs) return durationMs;
    context.addIssue({ code: 'custom', message: `a number with ms, s or m, as in 5s, ${range}` });
    return z.NEVER;
  });
}

export function formatDuration(durationMs: number): string {
  if (durationMs >= 60_000) return `${Number((durationMs / 60_000).toFixed(1))}m`;
  return durationMs >= 1000 ? `${Number((durationMs / 1000).toFixed(1))}s` : `${durationMs}ms`;
}
