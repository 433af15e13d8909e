import test from 'ava';
import type { ControlPlane } from '../../../store/control/control-plane.ts';
import { type LeaseHolder, VolumeDirectory } from '../../../store/control/volume-directory.ts';
import { volumeKey } from '../../../store/control/volume-record.ts';
import { OBJECT_BYTES_DEFAULT, VOLUME_BYTES_MAX } from '../../../store/geometry.ts';
import { type DroverErrorKind, isDroverError } from '../../../store/runtime/drover-error.ts';
import { MemoryCopy, openOn } from './memory-copy.ts';

async function makeDirectory(): Promise<{ control: ControlPlane; directory: VolumeDirectory }> {
  const control = await openOn([new MemoryCopy('only')]);
  return { control, directory: new VolumeDirectory(control) };
}

async function gateway(control: ControlPlane, holderId: string): Promise<LeaseHolder> {
  return { session: await control.startSession(10_000), holderId, holderKind: 'gateway' };
}

const kind = (expected: DroverErrorKind) => (error: unknown) => isDroverError(error, expected);

test('a new volume has an id of its own, default objects and epoch 0', async (t) => {
  const { directory } = await makeDirectory();
  const { record } = await directory.create({ name: 'disk0', sizeBytes: 1_000_000 });
  t.deepEqual(record, {
    id: 1,
    name: 'disk0',
    sizeBytes: 1_000_000,
    objectBytes: OBJECT_BYTES_DEFAULT,
    layerId: 1,
    epoch: 0,
    isReadOnly: false,
  });
  t.deepEqual((await directory.get('disk0'))?.record, record);
  t.is((await directory.create({ name: 'disk1', sizeBytes: 1 })).record.id, 2);
  t.deepEqual(
    (await directory.list()).map((entry) => entry.record.name),
    ['disk0', 'disk1'],
  );
});

test('an id is not used again after its volume is removed', async (t) => {
  const { directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 1 });
  await directory.create({ name: 'b', sizeBytes: 1 });
  await directory.remove('b');
  t.is((await directory.create({ name: 'b', sizeBytes: 1 })).record.id, 3);
});

test('volumes made at the same time get different ids', async (t) => {
  const { directory } = await makeDirectory();
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
  const made = await Promise.all(names.map((name) => directory.create({ name, sizeBytes: 1 })));
  t.is(new Set(made.map((entry) => entry.record.id)).size, names.length);
});

test('of two volumes of one name made at once, one is refused as existing', async (t) => {
  const { directory } = await makeDirectory();
  const both = await Promise.allSettled(
    [1, 2].map((sizeBytes) => directory.create({ name: 'a', sizeBytes })),
  );
  const refused = both.filter((result) => result.status === 'rejected');
  t.is(refused.length, 1);
  t.true(isDroverError(refused[0]?.reason, 'exists'));
});

for (const [what, volume, message] of [
  ['empty name', { name: '', sizeBytes: 1 }, /volume name "" is not a letter or digit/],
  ['name with a slash', { name: 'a/b', sizeBytes: 1 }, /volume name "a\/b" is not/],
  ['name of 129 characters', { name: 'a'.repeat(129), sizeBytes: 1 }, /volume name/],
  ['size 0', { name: 'a', sizeBytes: 0 }, /volume size 0 is not a size from 1 to/],
  ['fractional size', { name: 'a', sizeBytes: 1.5 }, /volume size 1\.5 is not a whole number/],
  ['size above the maximum', { name: 'a', sizeBytes: VOLUME_BYTES_MAX + 1 }, /is not a size from/],
  ['odd object size', { name: 'a', sizeBytes: 1, objectBytes: 65_537 }, /object size 65537 is not/],
  ['small object size', { name: 'a', sizeBytes: 1, objectBytes: 4096 }, /64 KiB to 16 MiB/],
] as const) {
  test(`${what} is refused with the value and what is allowed`, async (t) => {
    const { directory } = await makeDirectory();
    const error = await t.throwsAsync(directory.create(volume));
    t.true(isDroverError(error, 'invalid'), String(error));
    t.regex(error.message, message);
  });
}

test('a volume grows and never shrinks', async (t) => {
  const { directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 100 });
  t.is((await directory.resize('a', 200)).record.sizeBytes, 200);
  const error = await t.throwsAsync(directory.resize('a', 199));
  t.true(isDroverError(error, 'invalid'));
  t.regex(error.message, /volume size 199 is below the 200 bytes that a has/);
  t.is((await directory.get('a'))?.record.sizeBytes, 200);
});

test('a volume is made read-only, and writable again, while it is leased', async (t) => {
  const { control, directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 100, isReadOnly: true });
  t.true((await directory.get('a'))?.record.isReadOnly);
  const lease = await directory.takeLease('a', await gateway(control, 'g1'));
  t.false((await directory.setReadOnly('a', false)).record.isReadOnly);
  t.like((await directory.get('a'))?.record, { epoch: lease.record.epoch, isReadOnly: false });
});

test('what is asked of an unknown volume is answered notFound', async (t) => {
  const { control, directory } = await makeDirectory();
  const holder = await gateway(control, 'g1');
  t.is(await directory.get('a'), undefined);
  await t.throwsAsync(directory.resize('a', 1), { message: 'there is no volume a' });
  t.true(kind('notFound')(await t.throwsAsync(directory.setReadOnly('a', true))));
  t.true(kind('notFound')(await t.throwsAsync(directory.remove('a'))));
  t.true(kind('notFound')(await t.throwsAsync(directory.takeLease('a', holder))));
});

test('a malformed record is reported as corrupt, with its key', async (t) => {
  const { control, directory } = await makeDirectory();
  await control.commit({ expect: [], put: [{ key: volumeKey('a'), value: { id: 'x' } }] });
  for (const call of [directory.get('a'), directory.list(), directory.remove('a')]) {
    const error = await t.throwsAsync(call);
    t.true(isDroverError(error, 'corrupt'));
    t.regex(error.message, /volumes\/a/);
  }
});

test('each lease has a higher epoch, and another gateway waits for it to be given back', async (t) => {
  const { control, directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 1 });
  const [g1, g2] = [await gateway(control, 'g1'), await gateway(control, 'g2')];
  const first = await directory.takeLease('a', g1);
  t.is(first.record.epoch, 1);
  const error = await t.throwsAsync(directory.takeLease('a', g2));
  t.true(isDroverError(error, 'busy'));
  t.is(error.message, 'volume a is in use by g1');
  await directory.releaseLease(first);
  const second = await directory.takeLease('a', g2);
  t.is(second.record.epoch, 2);
  await directory.releaseLease(first);
  t.true(kind('busy')(await t.throwsAsync(directory.takeLease('a', g1))));
});

test('a lease ends with its session', async (t) => {
  const { control, directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 1 });
  const [g1, g2] = [await gateway(control, 'g1'), await gateway(control, 'g2')];
  await directory.takeLease('a', g1);
  await g1.session.end();
  t.true(kind('fenced')(await t.throwsAsync(directory.takeLease('a', g1))));
  t.is((await directory.takeLease('a', g2)).record.epoch, 2);
});

test('a gateway takes over from a steward, a steward from nobody', async (t) => {
  const { control, directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 1 });
  const steward = { ...(await gateway(control, 's')), holderKind: 'steward' } as const;
  await directory.takeLease('a', steward);
  const taken = await directory.takeLease('a', await gateway(control, 'g'));
  t.is(taken.record.epoch, 2);
  t.true(kind('busy')(await t.throwsAsync(directory.takeLease('a', steward))));
});

test('growing a volume does not end its lease', async (t) => {
  const { control, directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 1 });
  const lease = await directory.takeLease('a', await gateway(control, 'g1'));
  await directory.resize('a', 2);
  const second = await gateway(control, 'g2');
  t.true(kind('busy')(await t.throwsAsync(directory.takeLease('a', second))));
  t.is((await directory.get('a'))?.record.epoch, lease.record.epoch);
});

test('a volume that another gateway holds is removed only by force', async (t) => {
  const { control, directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 1 });
  await directory.takeLease('a', await gateway(control, 'g1'));
  t.true(kind('busy')(await t.throwsAsync(directory.remove('a', { holderId: 'g2' }))));
  await directory.remove('a', { holderId: 'g2', force: true });
  t.deepEqual(await control.list(''), [
    { key: 'next-volume-id', value: 2, revision: (await control.get('next-volume-id'))!.revision },
  ]);
});

test('a holder removes its own volume, with the lease', async (t) => {
  const { control, directory } = await makeDirectory();
  await directory.create({ name: 'a', sizeBytes: 1 });
  await directory.takeLease('a', await gateway(control, 'g1'));
  await directory.remove('a', { holderId: 'g1' });
  t.deepEqual(await control.list('leases/'), []);
});

test('an entry that is no longer the newest is not swapped', async (t) => {
  const { directory } = await makeDirectory();
  const entry = await directory.create({ name: 'a', sizeBytes: 1 });
  await directory.resize('a', 2);
  const error = await t.throwsAsync(directory.swap(entry, { ...entry.record, sizeBytes: 3 }));
  t.true(isDroverError(error, 'conflict'));
});
