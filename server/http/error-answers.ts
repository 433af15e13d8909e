/**
 * What a failure looks like over HTTP: a status and `{error: {kind, message}}`.
 *
 * Owns the one translation from error kinds to statuses.
 */
import { z } from 'zod';
import {
  type DroverErrorKind,
  describeError,
  isDroverError,
} from '../../store/runtime/drover-error.ts';

const STATUS_OF_KIND: Readonly<Record<DroverErrorKind, number>> = {
  notFound: 404,
  exists: 409,
  busy: 409,
  invalid: 400,
  outOfSpace: 507,
  fenced: 409,
  conflict: 409,
  corrupt: 500,
  unavailable: 503,
  readOnly: 403,
};

export const errorBodySchema = z.object({
  error: z.object({ kind: z.string(), message: z.string() }),
});

export type ErrorBody = z.infer<typeof errorBodySchema>;

export interface ErrorAnswer {
  readonly status: number;
  readonly body: ErrorBody;
}

/** Kinds beside those of DroverError: `internal` is a bug, and its message stays in the log. */
export function errorAnswer(error: unknown): ErrorAnswer {
  if (isDroverError(error)) {
    const body = { error: { kind: error.kind, message: describeError(error) } };
    return { status: STATUS_OF_KIND[error.kind], body };
  }
  // Fastify's own refusals: no JSON, too large, too slow.
  const status = (error as { statusCode?: unknown } | null)?.statusCode;
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return { status, body: { error: { kind: 'invalid', message: describeError(error) } } };
  }
  return { status: 500, body: { error: { kind: 'internal', message: 'internal error' } } };
}
