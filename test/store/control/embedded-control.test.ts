import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { EmbeddedControl } from '../../../store/control/embedded-control.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { isDroverError } from '../../../store/runtime/drover-error.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';
import { startProgram } from '../../support/child-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { controlPlaneSuite } from './control-plane-suite.ts';

const test = anyTest as TestFn;

async function openIn(t: ExecutionContext, directories: string[]): Promise<EmbeddedControl> {
  const control = await EmbeddedControl.open({
    directories,
    disk: realDisk,
    clock: systemClock,
    random: systemRandom,
  });
  t.teardown(() => control.close());
  return control;
}

controlPlaneSuite(test, async (t) => {
  const control = await openIn(t, [join(await temporaryFolder(t), 'control')]);
  return { connect: async () => control };
});

test('records survive a restart with their revisions, those of sessions do not', async (t) => {
  const folder = await temporaryFolder(t);
  const before = await openIn(t, [folder]);
  const session = await before.startSession(10_000);
  const revision = await before.commit({
    expect: [],
    put: [
      { key: 'a', value: { b: 'ü' } },
      { key: 's', value: 1, session },
    ],
  });
  await before.close();
  const after = await openIn(t, [folder]);
  t.deepEqual(await after.list(''), [{ key: 'a', value: { b: 'ü' }, revision }]);
  t.is(after.clusterId, before.clusterId);
  t.true((await after.commit({ expect: [], put: [{ key: 'a', value: 2 }] })) > revision);
});

test('a durable record overwritten by one of a session is gone after a restart', async (t) => {
  const folder = await temporaryFolder(t);
  const before = await openIn(t, [folder]);
  await before.commit({ expect: [], put: [{ key: 'a', value: 1 }] });
  const session = await before.startSession(10_000);
  await before.commit({ expect: [], put: [{ key: 'a', value: 2, session }] });
  await before.close();
  t.is(await (await openIn(t, [folder])).get('a'), undefined);
});

test('a commit that was answered is there after the process was killed', async (t) => {
  const folder = await temporaryFolder(t);
  const program = startProgram(t, process.execPath, [
    '--input-type=module',
    '--eval',
    `
    const at = (path) => import(${JSON.stringify(new URL('../../../store/', import.meta.url).href)} + path);
    const { EmbeddedControl } = await at('control/embedded-control.ts');
    const { systemClock } = await at('runtime/clock.ts');
    const { systemRandom } = await at('runtime/random.ts');
    const { realDisk } = await at('runtime/real-disk.ts');
    const control = await EmbeddedControl.open({
      directories: [${JSON.stringify(folder)}], disk: realDisk, clock: systemClock, random: systemRandom,
    });
    for (let i = 1; ; i++) {
      await control.commit({ expect: [], put: [{ key: 'n', value: i }] });
      process.stdout.write('answered ' + i + '\\n');
    }
    `,
  ]);
  await program.printed(/answered 20\n/, 20_000);
  program.kill('SIGKILL');
  await program.ended(10_000);
  const answered = Number([...program.stdout.matchAll(/answered (\d+)\n/g)].at(-1)?.[1]);
  const found = (await (await openIn(t, [folder])).get('n'))?.value as number;
  t.true(found === answered || found === answered + 1, `${found}, ${answered} was answered`);
});

test('a directory that another user has open is refused as busy', async (t) => {
  const folder = await temporaryFolder(t);
  await openIn(t, [folder]);
  const error = await t.throwsAsync(openIn(t, [folder]));
  t.true(isDroverError(error, 'busy'), String(error));
  t.true(error.message.includes(folder));
});

test('a full disk fails the commit and nothing else; with space again, commits go on', async (t) => {
  const folder = await temporaryFolder(t);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]);
  t.is(mounted.status, 0, String(mounted.stderr));
  t.teardown(() => spawnSync('umount', ['-l', folder]));
  const control = await openIn(t, [join(folder, 'control')]);
  await control.commit({ expect: [], put: [{ key: 'a', value: 'first' }] });
  let error: unknown;
  let filled = 0;
  for (; error === undefined && filled < 100; filled++) {
    const put = [{ key: `fill/${filled}`, value: 'x'.repeat(20_000) }];
    await control.commit({ expect: [], put }).catch((failure: unknown) => {
      error = failure;
    });
  }
  t.true(isDroverError(error, 'unavailable'), String(error));
  t.is((await control.get('a'))?.value, 'first');
  t.is(await control.get(`fill/${filled - 1}`), undefined);
  spawnSync('mount', ['-o', 'remount,size=8m', folder]);
  await control.commit({ expect: [], put: [{ key: 'a', value: 'second' }] });
  await control.close();
  const again = await openIn(t, [join(folder, 'control')]);
  t.is((await again.get('a'))?.value, 'second');
  t.is((await again.list('fill/')).length, filled - 1);
});
