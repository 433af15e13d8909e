/**
 * A comparison of copies as its server and the command line tell it to one another: JSON lines.
 *
 * Owns the lines. A comparison of a large volume takes hours, longer than anybody waits for an
 * answer; so it says every second how far it is, and in its last line what it found or why it
 * failed. It ends when nobody listens any more.
 */
import { z } from 'zod';
import type { VerifyProgress, VerifyReport } from '../../store/replication/verify.ts';
import { pause } from '../../store/runtime/clock.ts';
import { type ErrorBody, errorAnswer, errorBodySchema } from './error-answers.ts';

export const VERIFY_CONTENT_TYPE = 'application/x-ndjson';
/** A listener that hears nothing for a multiple of this may give up. */
export const VERIFY_LINE_MS = 1_000;

export const verifyProgressSchema = z.object({
  objects: z.int(),
  /** When it began; more may have been written since. */
  objectsTotal: z.int(),
  differenceCount: z.int(),
});

export const verifyReportSchema = z.object({
  nodeIds: z.array(z.string()),
  objects: z.int(),
  differences: z.array(z.object({ objectIndex: z.int(), nodeId: z.string(), what: z.string() })),
  differenceCount: z.int(),
});

/** `progress` is `null` until the volume is attached and flushed. */
export const verifyLineSchema = z.union([
  z.strictObject({ report: verifyReportSchema }),
  z.strictObject({ progress: verifyProgressSchema.nullable() }),
  errorBodySchema.strict(),
]);

export type VerifyProgressMessage = z.infer<typeof verifyProgressSchema>;
export type VerifyMessage = z.infer<typeof verifyReportSchema>;
export type VerifyLine = z.infer<typeof verifyLineSchema>;

/** The lines until `verifying` settles, with its outcome as the last one. */
export async function* verifyLines(
  verifying: Promise<VerifyReport>,
  progress: () => VerifyProgress | null,
): AsyncGenerator<string> {
  const outcome: Promise<{ report: VerifyReport } | ErrorBody> = verifying.then(
    (report) => ({ report }),
    (error: unknown) => errorAnswer(error).body,
  );
  for (;;) {
    const last = await Promise.race([outcome, pause(VERIFY_LINE_MS)]);
    yield `${JSON.stringify(last ?? { progress: progress() })}\n`;
    if (last !== undefined) return;
  }
}
