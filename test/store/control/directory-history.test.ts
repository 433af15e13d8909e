/**
 * Old copies of data directories, on a real disk, against what the control plane knows of them.
 */
import { cp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { DirectoryHistory, directoryKey } from '../../../store/control/directory-history.ts';
import type { Engine } from '../../../store/engine/engine.ts';
import { openEngine } from '../../../store/engine/open-engine.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { writeBlock } from '../engine/sample-blocks.ts';
import { MemoryCopy, openOn } from './memory-copy.ts';

async function scene(t: ExecutionContext) {
  const folder = await temporaryFolder(t);
  const control = await openOn([new MemoryCopy('only')]);
  const history = new DirectoryHistory(control);
  const directory = join(folder, 'node');
  const open = async (): Promise<Engine> => {
    const engine = await openEngine({
      ...{ directory, disk: realDisk, clock: systemClock, random: systemRandom },
      limits: { segmentBytes: 1024 * 1024 },
      judge: (found) => history.judge(found),
      onDamage: 'degrade',
    });
    await history.note(engine.directoryState);
    return engine;
  };
  const copyDirectory = () => cp(directory, join(folder, 'copy'), { recursive: true });
  const putBack = async () => {
    await rm(directory, { recursive: true });
    await rename(join(folder, 'copy'), directory);
  };
  return { control, history, open, copyDirectory, putBack };
}

test('a directory that goes on where it ended is whole, however often it is opened', async (t) => {
  const { open } = await scene(t);
  const first = await open();
  await first.write(writeBlock(0, 1, 0, 1));
  await first.close();
  const second = await open();
  await second.close();
  const third = await open();
  t.is(third.directoryId, first.directoryId);
  await third.close();
});

test('a copy made while the node was stopped is old when it is put back, whatever was told since', async (t) => {
  const { open, copyDirectory, putBack } = await scene(t);
  const first = await open();
  await first.close();
  await copyDirectory();
  const second = await open();
  // Told nothing after its opening, as when it is killed at once.
  await second.write(writeBlock(0, 1, 0, 1));
  await second.close();
  await putBack();
  const third = await open();
  t.not(third.directoryId, first.directoryId);
  await third.close();
});

test('a copy that ends before what was told last is old', async (t) => {
  const { open, history } = await scene(t);
  const engine = await open();
  const copied = engine.directoryState;
  await engine.write(writeBlock(0, 1, 0, 1));
  t.is(await history.judge(copied), 'whole');
  await history.note(engine.directoryState);
  t.is(await history.judge(copied), 'old');
  t.is(await history.judge(engine.directoryState), 'whole');
  await engine.close();
});

test('the directory itself, put back after its copy, is whole', async (t) => {
  const { history } = await scene(t);
  await history.note({ directoryId: 'a', batchSeq: 10 });
  t.is(await history.judge({ directoryId: 'a', batchSeq: 5 }), 'old');
  await history.note({ directoryId: 'b', batchSeq: 6 });
  t.is(await history.judge({ directoryId: 'a', batchSeq: 10 }), 'whole');
});

test('a directory that nobody told of is taken as it comes', async (t) => {
  const { history } = await scene(t);
  t.is(await history.judge({ directoryId: 'a', batchSeq: 1 }), 'whole');
});

test('a length that is known is not told again', async (t) => {
  const { history, control } = await scene(t);
  await history.note({ directoryId: 'a', batchSeq: 10 });
  const { revision } = (await control.get(directoryKey('a')))!;
  await history.note({ directoryId: 'a', batchSeq: 10 });
  t.is((await control.get(directoryKey('a')))!.revision, revision);
});

test('a record that is no length is corrupt, and not a reason to trust the directory', async (t) => {
  const { history, control } = await scene(t);
  await control.commit({ expect: [], put: [{ key: directoryKey('a'), value: { batchSeq: 'x' } }] });
  const error = await t.throwsAsync(history.judge({ directoryId: 'a', batchSeq: 1 }));
  t.true(isDroverError(error, 'corrupt'));
});
