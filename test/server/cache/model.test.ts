/**
 * The cache against a plain buffer: random requests, at once, over a store that answers in any
 * order, late, or with errors, and a cache so small that it evicts all the time.
 */
import test from 'ava';
import fc from 'fast-check';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { commandsFor, Run, SHAPES } from './model-run.ts';

for (const shape of SHAPES) {
  const { objectBlocks, objects, slots } = shape;
  test(`reads and flushes agree with a buffer: ${objects} objects of ${objectBlocks} blocks, ${slots} slots`, async (t) => {
    const sizeBytes = objectBlocks * objects * BLOCK_BYTES;
    await fc.assert(
      fc.asyncProperty(commandsFor(sizeBytes), async (commands) => {
        const run = new Run(shape);
        for (const command of commands) await run.do(command);
        await run.finish();
      }),
      {
        includeErrorInReport: true,
        numRuns: Number(process.env['DROVER_TEST_RUNS'] ?? 60),
        endOnFailure: process.env['DROVER_TEST_SHRINK'] === undefined,
      },
    );
    t.pass();
  });
}
