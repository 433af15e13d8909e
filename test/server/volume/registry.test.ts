import test, { type ExecutionContext } from 'ava';
import { VolumeRegistry } from '../../../server/volume/registry.ts';
import { VolumeWishes } from '../../../server/volume/volume-wishes.ts';
import type { ControlPlane } from '../../../store/control/control-plane.ts';
import { leaseKey } from '../../../store/control/replica-set-record.ts';
import { VolumeDirectory } from '../../../store/control/volume-directory.ts';
import { WISHES_PREFIX } from '../../../store/control/volume-wish.ts';
import {
  DroverError,
  type DroverErrorKind,
  isDroverError,
} from '../../../store/runtime/drover-error.ts';
import { silentLogger } from '../../../store/runtime/logger.ts';
import { HandClock, settled } from '../../store/control/hand-clock.ts';
import { MemoryCopy, openOn } from '../../store/control/memory-copy.ts';
import { eventually } from '../../support/time-limit.ts';
import { FakeAttacher, type FakeVolume } from './fake-volume.ts';

const IDLE_DETACH_MS = 600_000;
const FLUSH_RETRY_MS = 1_000;
const PATIENCE_MS = 6_000;

interface Gateway {
  readonly registry: VolumeRegistry;
  readonly attacher: FakeAttacher;
  readonly directory: VolumeDirectory;
}

interface Scene extends Gateway {
  readonly copy: MemoryCopy;
  readonly control: ControlPlane;
  readonly clock: HandClock;
  startGateway(holderId: string, watch?: ControlPlane['watch']): Promise<Gateway>;
}

async function makeScene(t: ExecutionContext, sizes: Record<string, number> = {}): Promise<Scene> {
  const copy = new MemoryCopy('only');
  const control = await openOn([copy]);
  const directory = new VolumeDirectory(control);
  const clock = new HandClock();
  for (const [name, sizeBytes] of Object.entries(sizes)) {
    await directory.create({ name, sizeBytes });
  }
  const startGateway: Scene['startGateway'] = async (holderId, watch) => {
    const session = await control.startSession(10_000);
    const attacher = new FakeAttacher(directory, { session, holderId, holderKind: 'gateway' });
    const common = { directory, holderId, clock, log: silentLogger };
    const sessions = { current: async () => session };
    const wishes = new VolumeWishes({ ...common, control, sessions, patienceMs: PATIENCE_MS });
    const registry = await VolumeRegistry.open({
      ...common,
      control: watch === undefined ? control : { watch },
      attach: (name, onLost) => wishes.untilGivenBack(name, () => attacher.attach(name, onLost)),
      wishes,
      idleDetachMs: IDLE_DETACH_MS,
    });
    t.teardown(() => registry.close().catch(() => undefined));
    return { registry, attacher, directory };
  };
  return { copy, control, clock, startGateway, ...(await startGateway('g1')) };
}

const user = (): { detached: string[]; onDetach: (reason: string) => void } => {
  const detached: string[] = [];
  return { detached, onDetach: (reason) => detached.push(reason) };
};

async function refused(
  t: ExecutionContext,
  kind: DroverErrorKind,
  call: Promise<unknown>,
): Promise<string> {
  const error = await t.throwsAsync(call);
  t.true(isDroverError(error, kind), String(error));
  return error.message;
}

test('volumes are listed by name, with size and state', async (t) => {
  const { registry } = await makeScene(t, { b: 200, a: 100 });
  t.deepEqual(
    registry.list().map(({ name, sizeBytes, isAttached }) => ({ name, sizeBytes, isAttached })),
    [
      { name: 'a', sizeBytes: 100, isAttached: false },
      { name: 'b', sizeBytes: 200, isAttached: false },
    ],
  );
  const device = await registry.open('a', user());
  await device.write(0, Buffer.alloc(1));
  const shown = registry.show('a');
  t.like(shown, { id: 2, epoch: 1, isAttached: true, clientCount: 1, dirtyBytes: 1 });
  t.throws(() => registry.show('c'), { message: 'there is no volume c' });
});

test('the empty name means the only volume, where there is just one', async (t) => {
  const { registry } = await makeScene(t, { a: 100 });
  t.is(registry.find('')?.name, 'a');
  t.is((await registry.open('', user())).name, 'a');
  await registry.create({ name: 'b', sizeBytes: 1 });
  t.is(registry.find(''), undefined);
  t.regex(await refused(t, 'notFound', registry.open('', user())), /only volume, and there are 2/);
});

test('a volume that was created can be found and opened at once', async (t) => {
  const { registry } = await makeScene(t);
  t.like(await registry.create({ name: 'a', sizeBytes: 5 }), { name: 'a', sizeBytes: 5 });
  t.is(registry.find('a')?.sizeBytes, 5);
  t.is((await registry.open('a', user())).sizeBytes, 5);
  await refused(t, 'exists', registry.create({ name: 'a', sizeBytes: 5 }));
});

test('opens at the same time share one attach', async (t) => {
  const { registry, attacher } = await makeScene(t, { a: 1 });
  const devices = await Promise.all([1, 2, 3].map(() => registry.open('a', user())));
  t.is(attacher.volumes.length, 1);
  t.is(registry.show('a').clientCount, 3);
  t.is(new Set(devices).size, 3);
});

test('an attach that fails is told to all who wait, and tried again at the next open', async (t) => {
  const { registry, attacher } = await makeScene(t, { a: 1 });
  attacher.before = async () => {
    throw new DroverError('unavailable', 'node down');
  };
  const opens = [registry.open('a', user()), registry.open('a', user())];
  for (const open of opens) t.is(await refused(t, 'unavailable', open), 'node down');
  attacher.before = undefined;
  await registry.open('a', user());
  t.is(attacher.volumes.length, 1);
});

test('when the last client leaves, the volume is flushed and stays attached for a while', async (t) => {
  const { registry, attacher } = await makeScene(t, { a: 1 });
  const first = await registry.open('a', user());
  const second = await registry.open('a', user());
  await first.close();
  const { steps } = attacher.volumes[0] as FakeVolume;
  t.deepEqual(steps, ['device closed']);
  await second.close();
  await second.close();
  t.deepEqual(steps, ['device closed', 'device closed', 'flush']);
  t.like(registry.show('a'), { isAttached: true, clientCount: 0 });
  await registry.open('a', user());
  t.is(attacher.volumes.length, 1);
});

test('an idle volume is given back, for another gateway to attach', async (t) => {
  const { registry, attacher, clock, startGateway } = await makeScene(t, { a: 1 });
  const second = await startGateway('g2');
  await (await registry.open('a', user())).close();
  await settled();
  await clock.advance(IDLE_DETACH_MS);
  await eventually('the release', 2_000, () => attacher.volumes[0]!.steps.includes('release'));
  t.false(registry.show('a').isAttached);
  await second.registry.open('a', user());
  t.is(second.registry.show('a').epoch, 2);
});

test('another gateway that needs an idle volume has it at once', async (t) => {
  const { registry, clock, control, startGateway } = await makeScene(t, { a: 1 });
  const second = await startGateway('g2');
  await (await registry.open('a', user())).close();
  await settled();
  const opened = second.registry.open('a', user());
  await eventually('the release', 2_000, async () => {
    await clock.advance(1);
    return !registry.show('a').isAttached;
  });
  await clock.advance(PATIENCE_MS / 2);
  await opened;
  t.is(second.registry.show('a').epoch, 2);
  t.deepEqual(await control.list(WISHES_PREFIX), []);
});

test('a volume that another gateway waits for is given back when its last client leaves', async (t) => {
  const { registry, clock, startGateway } = await makeScene(t, { a: 1 });
  const second = await startGateway('g2');
  const device = await registry.open('a', user());
  const opened = second.registry.open('a', user());
  await settled();
  await clock.advance(PATIENCE_MS / 2);
  t.true(registry.show('a').isAttached);
  await device.close();
  await eventually('the release', 2_000, async () => {
    await clock.advance(1);
    return !registry.show('a').isAttached;
  });
  await clock.advance(PATIENCE_MS / 4);
  await opened;
  t.is(second.registry.show('a').epoch, 2);
});

test('a volume in use is refused to another gateway, and free when its own stops', async (t) => {
  const { registry, clock, control, startGateway } = await makeScene(t, { a: 1 });
  const second = await startGateway('g2');
  await registry.open('a', user());
  const opened = refused(t, 'busy', second.registry.open('a', user()));
  for (let waitedMs = 0; waitedMs <= PATIENCE_MS; waitedMs += 100) {
    await settled();
    await clock.advance(100);
  }
  t.is(await opened, 'volume a is in use by g1');
  t.deepEqual(await control.list(WISHES_PREFIX), []);
  await registry.close();
  await second.registry.open('a', user());
});

test('an idle volume of another gateway is removed without force', async (t) => {
  const { registry, clock, startGateway } = await makeScene(t, { a: 1 });
  const second = await startGateway('g2');
  await (await registry.open('a', user())).close();
  await settled();
  const removed = second.registry.remove('a');
  await eventually('the release', 2_000, async () => {
    await clock.advance(1);
    return registry.find('a')?.isAttached !== true;
  });
  await clock.advance(PATIENCE_MS / 2);
  await removed;
  t.is(second.registry.find('a'), undefined);
});

test('a volume that is opened again in time is kept', async (t) => {
  const { registry, attacher, clock } = await makeScene(t, { a: 1 });
  await (await registry.open('a', user())).close();
  await settled();
  await clock.advance(IDLE_DETACH_MS - 1);
  const device = await registry.open('a', user());
  await clock.advance(IDLE_DETACH_MS);
  await settled();
  t.true(registry.show('a').isAttached);
  await device.close();
  t.is(attacher.volumes.length, 1);
});

test('an idle volume that cannot be flushed is kept until it can', async (t) => {
  const { registry, attacher, clock } = await makeScene(t, { a: 1 });
  const device = await registry.open('a', user());
  const volume = attacher.volumes[0]!;
  volume.flushError = new DroverError('unavailable', 'no copies');
  await device.close();
  await settled();
  await clock.advance(IDLE_DETACH_MS);
  await settled();
  t.true(registry.show('a').isAttached);
  t.false(volume.steps.includes('close'));
  volume.flushError = undefined;
  await clock.advance(FLUSH_RETRY_MS);
  await eventually('the release', 2_000, () => volume.steps.includes('release'));
});

test('an open during the giving back waits for its end', async (t) => {
  const { registry, attacher, clock } = await makeScene(t, { a: 1 });
  await (await registry.open('a', user())).close();
  await settled();
  const volume = attacher.volumes[0]!;
  const held = Promise.withResolvers<void>();
  volume.close = async () => {
    await held.promise;
    volume.steps.push('close');
  };
  await clock.advance(IDLE_DETACH_MS);
  await eventually('the detach', 2_000, () => !registry.show('a').isAttached);
  const opened = registry.open('a', user());
  await settled();
  t.is(attacher.volumes.length, 1);
  held.resolve();
  await opened;
  t.deepEqual(volume.steps.slice(-2), ['close', 'release']);
  t.is(attacher.volumes.length, 2);
});

test('copies are compared without a client, and the volume is given back afterwards', async (t) => {
  const { registry, attacher, clock } = await makeScene(t, { a: 1 });
  t.like(await registry.verify('a', { isDeep: false }), { objects: 1, differenceCount: 0 });
  await clock.advance(IDLE_DETACH_MS);
  await eventually('the release', 2_000, () => attacher.volumes[0]!.steps.includes('release'));
});

test('a volume is not given back while its copies are compared', async (t) => {
  const { registry, attacher, clock } = await makeScene(t, { a: 1 });
  const device = await registry.open('a', user());
  const held = Promise.withResolvers<void>();
  attacher.replications[0]!.verifying = held.promise;
  const verified = registry.verify('a', { isDeep: false });
  await settled();
  await device.close();
  await settled();
  await clock.advance(IDLE_DETACH_MS * 2);
  await settled();
  t.true(registry.show('a').isAttached);
  held.resolve();
  await verified;
});

test('a comparison is given up when another gateway wants the volume for its clients', async (t) => {
  const { registry, attacher, clock, startGateway } = await makeScene(t, { a: 1 });
  const second = await startGateway('g2');
  await (await registry.open('a', user())).close();
  await settled();
  attacher.replications[0]!.verifying = new Promise(() => undefined);
  const verified = refused(t, 'unavailable', registry.verify('a', { isDeep: false }));
  await settled();
  const opened = second.registry.open('a', user());
  t.regex(await verified, /another gateway wants volume a/);
  await eventually('the release', 2_000, async () => {
    await clock.advance(1);
    return !registry.show('a').isAttached;
  });
  await clock.advance(PATIENCE_MS / 2);
  await opened;
  t.is(second.registry.show('a').epoch, 2);
});

test('without the lease nothing is answered, from the cache neither', async (t) => {
  const { registry, attacher } = await makeScene(t, { a: 1 });
  const device = await registry.open('a', user());
  t.true(device.tryRead(0, 1, Buffer.alloc(1), 0));
  attacher.replications[0]!.isLeased = false;
  t.false(device.tryRead(0, 1, Buffer.alloc(1), 0));
  t.false(device.tryWrite(0, 1, Buffer.alloc(1), 0));
  t.is(device.tryRunBytes(0, 1), 0);
  await refused(t, 'fenced', device.read(0, Buffer.alloc(1)));
  await refused(t, 'fenced', device.write(0, Buffer.alloc(1)));
  await refused(t, 'fenced', device.flush());
  await refused(t, 'fenced', device.trim(0, 1));
  await refused(t, 'fenced', device.writeZeroes(0, 1, true));
  await refused(t, 'fenced', device.allocation(0, 1, 1));
  t.is(registry.stats.fencedRequests, 6);
});

test('a request during which the lease ended is not answered with success', async (t) => {
  const { registry, attacher } = await makeScene(t, { a: 1 });
  const device = await registry.open('a', user());
  attacher.volumes[0]!.flush = async () => {
    attacher.replications[0]!.isLeased = false;
  };
  await refused(t, 'fenced', device.flush());
});

test('a handle that was closed reaches the volume no more', async (t) => {
  const { registry } = await makeScene(t, { a: 1 });
  const device = await registry.open('a', user());
  t.true(device.tryWrite(0, 1, Buffer.alloc(1), 0));
  await device.close();
  t.false(device.tryWrite(0, 1, Buffer.alloc(1), 0));
  t.false(device.tryRead(0, 1, Buffer.alloc(1), 0));
  t.is(device.tryRunBytes(0, 1), 0);
  await refused(t, 'unavailable', device.write(0, Buffer.alloc(1)));
  await refused(t, 'unavailable', device.flush());
});

test('a grown volume shows at the next open', async (t) => {
  const { registry } = await makeScene(t, { a: 100 });
  const before = await registry.open('a', user());
  t.is((await registry.resize('a', 300)).sizeBytes, 300);
  t.is(before.sizeBytes, 100);
  t.is((await registry.open('a', user())).sizeBytes, 300);
  t.regex(await refused(t, 'invalid', registry.resize('a', 299)), /a volume only grows/);
});

test('a volume made read-only is so for who opens it next, on every gateway', async (t) => {
  const { registry, startGateway } = await makeScene(t, { a: 100 });
  const second = await startGateway('g2');
  const before = await registry.open('a', user());
  t.true((await second.registry.setReadOnly('a', true)).isReadOnly);
  t.false(before.isReadOnly);
  t.true((await registry.open('a', user())).isReadOnly);
  t.true(registry.show('a').isReadOnly);
  await registry.setReadOnly('a', false);
  t.false((await registry.open('a', user())).isReadOnly);
  await refused(t, 'notFound', registry.setReadOnly('b', true));
});

test('a volume grown during its attach has its new size', async (t) => {
  const { registry, attacher } = await makeScene(t, { a: 100 });
  const held = Promise.withResolvers<void>();
  attacher.after = () => held.promise;
  const opened = registry.open('a', user());
  await eventually('the lease', 2_000, () => attacher.volumes.length === 1);
  await registry.resize('a', 300);
  held.resolve();
  t.is((await opened).sizeBytes, 300);
});

test('a volume in use is not removed, and says by how many', async (t) => {
  const { registry } = await makeScene(t, { a: 1 });
  const first = await registry.open('a', user());
  await registry.open('a', user());
  t.is(await refused(t, 'busy', registry.remove('a')), 'volume a is in use by 2 clients');
  await first.close();
  t.is(await refused(t, 'busy', registry.remove('a')), 'volume a is in use by 1 client');
  t.true(registry.show('a').isAttached);
});

test('a forced removal detaches the clients and discards', async (t) => {
  const { registry, attacher, control } = await makeScene(t, { a: 1 });
  const client = user();
  const device = await registry.open('a', client);
  await device.write(0, Buffer.alloc(1));
  await registry.remove('a', { force: true });
  t.deepEqual(client.detached, ['volume a is being removed']);
  t.deepEqual(attacher.volumes[0]?.steps, ['discard', 'release']);
  await refused(t, 'unavailable', device.write(0, Buffer.alloc(1)));
  t.is(registry.find('a'), undefined);
  t.is(await control.get(leaseKey(1)), undefined);
  await refused(t, 'notFound', registry.remove('a'));
});

test('an attached volume without clients is removed without force', async (t) => {
  const { registry } = await makeScene(t, { a: 1 });
  await (await registry.open('a', user())).close();
  await registry.remove('a');
  t.deepEqual(registry.list(), []);
});

test('a removal that fails leaves the volume as it was, dirty data included', async (t) => {
  const { registry, attacher, copy } = await makeScene(t, { a: 1 });
  await registry.open('a', user());
  copy.mode = 'failing';
  await refused(t, 'unavailable', registry.remove('a', { force: true }));
  copy.mode = 'fine';
  t.deepEqual(attacher.volumes[0]?.steps, []);
  const device = await registry.open('a', user());
  await device.write(0, Buffer.alloc(1));
  t.is(attacher.volumes.length, 1);
});

test('a volume is not opened while it is being removed', async (t) => {
  const { registry } = await makeScene(t, { a: 1 });
  await (await registry.open('a', user())).close();
  const removal = registry.remove('a');
  t.is(await refused(t, 'busy', registry.open('a', user())), 'volume a is being removed');
  t.is(await refused(t, 'busy', registry.remove('a')), 'volume a is being removed');
  await removal;
  await refused(t, 'notFound', registry.open('a', user()));
});

test('what another gateway does to a volume shows here', async (t) => {
  const { registry, attacher, startGateway } = await makeScene(t, { a: 1 });
  const second = await startGateway('g2');
  const client = user();
  await registry.open('a', client);
  await second.registry.create({ name: 'b', sizeBytes: 7 });
  t.is(registry.find('b')?.sizeBytes, 7);
  await second.registry.resize('a', 9);
  t.is(attacher.volumes[0]?.sizeBytes, 9);
  await second.registry.remove('a', { force: true });
  await eventually('the detach', 2_000, () => client.detached.length === 1);
  t.is(registry.find('a'), undefined);
  t.deepEqual(attacher.volumes[0]?.steps, ['discard', 'release']);
});

test('a volume removed and made again elsewhere is not taken for the old one', async (t) => {
  const { control, directory, startGateway } = await makeScene(t, { a: 1 });
  // As after a break of the watch: of the two changes only the second is told.
  const merged: ControlPlane['watch'] = (prefix, onChange) =>
    control.watch(prefix, (change) => {
      if (change.record !== undefined) onChange(change);
    });
  for (const watch of [undefined, merged]) {
    const { registry, attacher } = await startGateway(`g${watch}`, watch);
    const client = user();
    await registry.open('a', client);
    await directory.remove('a', { force: true });
    await directory.create({ name: 'a', sizeBytes: 2 });
    await eventually('the detach', 2_000, () => attacher.volumes[0]!.steps.length === 2);
    t.is(client.detached.length, 1);
    t.is((await registry.open('a', user())).sizeBytes, 2);
    t.is(attacher.volumes.length, 2);
    await registry.close();
  }
});

test('a lost lease detaches the clients; the next open attaches anew', async (t) => {
  const { registry, attacher } = await makeScene(t, { a: 1 });
  const client = user();
  await registry.open('a', client);
  attacher.onLost[0]!(new DroverError('fenced', 'the lease is over'));
  await eventually('the detach', 2_000, () => !registry.show('a').isAttached);
  t.deepEqual(client.detached, ['the lease is over']);
  t.deepEqual(attacher.volumes[0]?.steps, ['discard', 'release']);
  await registry.open('a', user());
  t.is(registry.show('a').epoch, 2);
});

test('closing flushes and gives back every volume, and says which could not be flushed', async (t) => {
  const { registry, attacher, control } = await makeScene(t, { a: 1, b: 1, c: 1 });
  const client = user();
  for (const name of ['a', 'b', 'c']) await registry.open(name, client);
  attacher.volumes[1]!.flushError = new DroverError('outOfSpace', 'full');
  const error = await t.throwsAsync(registry.close());
  t.is(error?.message, 'not everything was flushed: b');
  t.true(isDroverError(error?.cause, 'outOfSpace'));
  for (const { steps } of attacher.volumes) t.deepEqual(steps, ['flush', 'close', 'release']);
  t.is(client.detached.length, 3);
  t.deepEqual(await control.list('leases/'), []);
  await refused(t, 'unavailable', registry.open('a', user()));
});

test('closing waits for an attach under way and undoes it', async (t) => {
  const { registry, attacher, control } = await makeScene(t, { a: 1 });
  const held = Promise.withResolvers<void>();
  attacher.before = () => held.promise;
  const opened = registry.open('a', user());
  const closed = registry.close();
  held.resolve();
  await Promise.allSettled([opened, closed]);
  t.deepEqual(attacher.volumes[0]?.steps.slice(-2), ['close', 'release']);
  t.deepEqual(await control.list('leases/'), []);
});
