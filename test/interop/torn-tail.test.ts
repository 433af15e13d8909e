/**
 * The last bytes of the newest segment are cut, overwritten or zeroed after a SIGKILL, behind
 * everything that was acknowledged as durable.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { CrashScene } from '../support/crash-scene.ts';
import { type Damage, LogTail } from '../support/log-tail.ts';
import { randomForTest, type SeededRandom } from '../support/seeded-random.ts';
import { UNFLUSHED_MIX, USUAL_MIX } from '../support/stamping-writer.ts';

/** A round does no damage when the flush was answered before the kill, or a checkpoint came. */
const ROUNDS_MAX = 40;
const DAMAGES: readonly Damage[] = ['cut', 'garbage', 'zeros'];

/** Everything that was written is flushed, and the log stands still. */
async function flushedScene(scene: CrashScene, random: SeededRandom): Promise<LogTail> {
  const writer = scene.load(USUAL_MIX);
  await sleep(random.between(20, 150));
  await writer.stop();
  const submittedAt = scene.model.flushSubmitted();
  await scene.clients[0]!.flush();
  scene.model.flushAnswered(submittedAt);
  return LogTail.snapshot(scene.options.dataDirectory);
}

/** Writes that nobody asked to be durable, killed in the middle of a flush; true if none was answered. */
async function killWhileWritingBack(scene: CrashScene, random: SeededRandom): Promise<boolean> {
  const writer = scene.load(UNFLUSHED_MIX);
  await sleep(random.between(50, 400));
  const submittedAt = scene.model.flushSubmitted();
  let answered = false;
  const flush = scene.clients[0]!.flush().then(
    () => {
      answered = true;
      scene.model.flushAnswered(submittedAt);
    },
    () => {}, // the connection is lost with the server
  );
  await sleep(random.between(0, 15));
  await scene.kill();
  await Promise.all([flush, writer.ended()]);
  scene.crashed();
  return !answered;
}

test('a torn end of the log loses only what was not flushed, and the server starts', async (t) => {
  t.timeout(600_000);
  const random = randomForTest(t);
  const scene = await CrashScene.prepare(t, random);
  const done: Record<Damage, number> = { cut: 0, garbage: 0, zeros: 0 };
  await scene.start();
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const kind = DAMAGES.find((each) => done[each] === 0);
    if (kind === undefined) break;
    const tail = await flushedScene(scene, random);
    const unanswered = await killWhileWritingBack(scene, random);
    if (unanswered && (await tail.damage(kind, random))) done[kind] += 1;
    await scene.start();
    await scene.verify();
    await scene.verify();
  }
  await scene.stop();
  t.log(`${JSON.stringify(done)}; ${scene.missingBlocks} unflushed blocks were lost`);
  t.deepEqual(done, { cut: 1, garbage: 1, zeros: 1 }, 'no round could do some of the damage');
});
