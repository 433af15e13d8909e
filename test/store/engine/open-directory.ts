/**
 * Opens a data directory in a process of its own and holds it until it is killed; for the test of
 * two processes. Prints `open`, or the error.
 */
import { openEngine } from '../../../store/engine/open-engine.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { describeError } from '../../../store/runtime/drover-error.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';

const [directory] = process.argv.slice(2);
try {
  await openEngine({
    directory: directory!,
    disk: realDisk,
    clock: systemClock,
    random: systemRandom,
    limits: { segmentBytes: 1024 * 1024 },
  });
  console.log('open');
  process.stdin.resume();
  setInterval(() => {}, 1000);
} catch (error) {
  console.log(`refused: ${describeError(error)}`);
  process.exit(1);
}
