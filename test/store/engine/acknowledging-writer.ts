/**
 * Writes one object again and again and says what was acknowledged, until it is killed; for the
 * test of a killed process.
 */
import { openEngine } from '../../../store/engine/open-engine.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';
import { writeBlock } from './sample-blocks.ts';

const [directory] = process.argv.slice(2);
const engine = await openEngine({
  directory: directory!,
  disk: realDisk,
  clock: systemClock,
  random: systemRandom,
  limits: { segmentBytes: 1024 * 1024 },
});
const { version } = await engine.describeObject({ layerId: 1, objectIndex: 0 }, 0);
for (let seq = version.seq + 1; ; seq += 1) {
  await engine.write(writeBlock(0, seq, seq % 8, seq));
  process.stdout.write(`acknowledged ${seq}\n`);
}
