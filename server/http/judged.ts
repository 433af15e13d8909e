/**
 * Judging what a client sent by its schema.
 */
import type { z } from 'zod';
import { DroverError } from '../../store/runtime/drover-error.ts';

/** The message as the schema makes it; `invalid` names the field and what is allowed. */
export function judged<T>(schema: z.ZodType<T>, message: unknown): T {
  const result = schema.safeParse(message ?? {});
  if (result.success) return result.data;
  const { path, message: allowed } = result.error.issues[0]!;
  throw new DroverError('invalid', path.length === 0 ? allowed : `${path.join('.')}: ${allowed}`);
}
