/**
 * A data directory on a real disk with a real index: whose it is, who may open it, what is in it.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { Engine } from '../../../store/engine/engine.ts';
import { type EngineOptions, openEngine } from '../../../store/engine/open-engine.ts';
import { BLOCK_BYTES } from '../../../store/geometry.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { systemRandom } from '../../../store/runtime/random.ts';
import { realDisk } from '../../../store/runtime/real-disk.ts';
import { startProgram } from '../../support/child-process.ts';
import { randomForTest } from '../../support/seeded-random.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { contentRead, HOLE, version, writeBlock, writeOf } from './sample-blocks.ts';

const MIB = 1024 * 1024;

function open(directory: string, options: Partial<EngineOptions> = {}): Promise<Engine> {
  return openEngine({
    directory,
    disk: realDisk,
    clock: systemClock,
    random: systemRandom,
    limits: { segmentBytes: MIB },
    ...options,
  });
}

async function contentOf(
  engine: Engine,
  objectIndex: number,
  seq: number,
  blockCount: number,
): Promise<number[]> {
  const into = Buffer.alloc(blockCount * BLOCK_BYTES);
  const request = { layerId: 1, objectIndex, expected: version(seq), startBlock: 0, blockCount };
  const { kinds, blockCrcs } = await engine.read(request, [into]);
  return contentRead(kinds, blockCrcs, into);
}

async function refusal(opening: Promise<Engine>): Promise<DroverError> {
  try {
    await (await opening).close();
  } catch (error) {
    if (error instanceof DroverError) return error;
    throw error;
  }
  throw new Error('it opened');
}

test('a directory of an unknown format version is refused, and both versions are named', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  await (await open(directory)).close();
  const path = join(directory, 'identity.json');
  const identity = JSON.parse(await readFile(path, 'utf8'));
  await writeFile(path, JSON.stringify({ ...identity, formatVersion: 9 }));
  const error = await refusal(open(directory));
  t.is(error.kind, 'invalid');
  t.regex(error.message, /format version 9; this program knows version 1/);
});

test('the directory of another node is refused, and both are named', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const first = await open(directory, { nodeId: 'a'.repeat(32) });
  t.is(first.nodeId, 'a'.repeat(32));
  await first.close();
  const error = await refusal(open(directory, { nodeId: 'b'.repeat(32) }));
  t.is(error.kind, 'invalid');
  t.true(error.message.includes('a'.repeat(32)) && error.message.includes('b'.repeat(32)));
  await (await open(directory, { nodeId: 'a'.repeat(32) })).close();
});

test('an identity that is no identity is refused', async (t) => {
  for (const text of [
    '',
    '{',
    '{"format":"other"}',
    '{"format":"drover-store-node","formatVersion":1}',
  ]) {
    const directory = join(await temporaryFolder(t), 'node');
    await (await open(directory)).close();
    await writeFile(join(directory, 'identity.json'), text);
    t.is((await refusal(open(directory))).kind, 'corrupt', text);
  }
});

test('segments without an identity are refused', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const engine = await open(directory);
  await engine.write(writeBlock(0, 1, 0, 1));
  await engine.close();
  await realDisk.remove(join(directory, 'identity.json'));
  t.regex((await refusal(open(directory))).message, /segments but no identity/);
});

test('an index that was emptied is refused', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  await (await open(directory)).close();
  await realDisk.remove(join(directory, 'index', 'data.mdb'));
  await realDisk.remove(join(directory, 'index', 'lock.mdb'));
  t.is((await refusal(open(directory))).kind, 'corrupt');
});

test('a directory that is open is refused to a second process, until the first one is gone', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const script = join(import.meta.dirname, 'open-directory.ts');
  const first = startProgram(t, process.execPath, [script, directory]);
  await first.printed(/^open$/m, 20_000);
  const second = startProgram(t, process.execPath, [script, directory]);
  await second.printed(/refused: .* is in use by another process/, 20_000);
  t.is((await refusal(open(directory))).kind, 'busy');
  first.kill('SIGKILL');
  await first.ended(10_000);
  await (await open(directory)).close();
});

test('a directory that is open is refused to the same process as well', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const engine = await open(directory);
  t.is((await refusal(open(directory))).kind, 'busy');
  await engine.close();
});

test('ids: the node and directory keep theirs, each opening has another', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const first = await open(directory);
  await first.close();
  const second = await open(directory);
  await second.close();
  t.regex(first.nodeId, /^[0-9a-f]{32}$/);
  t.is(second.nodeId, first.nodeId);
  t.is(second.directoryId, first.directoryId);
  t.not(second.openId, first.openId);
});

test('a directory that is judged old gets another id where damage is lived with, once', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const first = await open(directory);
  await first.write(writeBlock(0, 1, 0, 1));
  await first.close();
  const second = await open(directory, { judge: async () => 'old', onDamage: 'degrade' });
  t.regex(second.directoryId, /^[0-9a-f]{32}$/);
  t.not(second.directoryId, first.directoryId);
  t.is(second.nodeId, first.nodeId);
  t.deepEqual(await contentOf(second, 0, 1, 1), [1]);
  await second.close();
  const third = await open(directory, { judge: async () => 'whole', onDamage: 'degrade' });
  t.is(third.directoryId, second.directoryId);
  await third.close();
});

test('a directory that is judged old is refused where there is no other copy', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  await (await open(directory)).close();
  const error = await refusal(open(directory, { judge: async () => 'old' }));
  t.is(error.kind, 'corrupt');
  t.regex(error.message, /an old copy, or a log without its end/);
  await (await open(directory)).close();
});

test('each opening that is judged is in the log, so a copy made before it has a shorter one', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const judged: number[] = [];
  const judge: EngineOptions['judge'] = async ({ batchSeq }) => {
    judged.push(batchSeq);
    return 'whole';
  };
  const ends: number[] = [];
  for (let opening = 0; opening < 3; opening += 1) {
    const engine = await open(directory, { judge });
    ends.push(engine.directoryState.batchSeq);
    t.true(ends.at(-1)! > judged.at(-1)!);
    await engine.close();
  }
  t.deepEqual(judged.slice(1), ends.slice(0, -1));
});

test('random writes, checkpoints, cleaning and openings on a real disk, against a plain array', async (t) => {
  const random = randomForTest(t);
  const directory = join(await temporaryFolder(t), 'node');
  const limits = {
    segmentBytes: MIB,
    checkpointLogBytes: 4 * MIB,
    cacheBytesMax: 64 * 1024,
    tickMs: 20,
  };
  const objects = Array.from({ length: 30 }, () => ({
    seq: 0,
    blocks: new Array<number>(40).fill(HOLE),
  }));
  let fill = 1;
  for (let life = 0; life < 4; life += 1) {
    const engine = await open(directory, { limits });
    for (let round = 0; round < 60; round += 1) {
      const chosen = objects.map((_, i) => i).filter(() => random.chance(0.5));
      await Promise.all(
        chosen.map((objectIndex) => {
          const object = objects[objectIndex]!;
          const changes = object.blocks
            .map((_, block) => ({ block, content: random.chance(0.2) ? HOLE : fill++ }))
            .filter(() => random.chance(0.3));
          if (changes.length === 0) return Promise.resolve();
          object.seq += 1;
          for (const { block, content } of changes) object.blocks[block] = content;
          const base = version(object.seq - 1);
          return engine.write(writeOf({ objectIndex, base, target: version(object.seq), changes }));
        }),
      );
      if (random.chance(0.05)) await engine.checkpoint();
      if (random.chance(0.1)) await engine.cleanOne();
    }
    t.is((await engine.scrubOnce()).badBlocks, 0);
    await engine.close();
    const again = await open(directory, { limits });
    for (const [objectIndex, { seq, blocks }] of objects.entries()) {
      t.deepEqual(await contentOf(again, objectIndex, seq, 40), blocks);
    }
    const page = await again.listVersions(1, 0, 100);
    t.deepEqual(
      [...page.seqs],
      objects.map(({ seq }) => seq).filter((seq) => seq > 0),
    );
    await again.close();
  }
  const kept = (await readdir(join(directory, 'segments'))).length;
  t.true(kept < 40, `${kept} files`);
});

test('what a killed process had acknowledged is there', async (t) => {
  const directory = join(await temporaryFolder(t), 'node');
  const script = join(import.meta.dirname, 'acknowledging-writer.ts');
  for (let life = 0; life < 5; life += 1) {
    const writer = startProgram(t, process.execPath, [script, directory]);
    await writer.printed(new RegExp(`acknowledged \\d+(.*\\n){${20 + life * 40}}`), 20_000);
    writer.kill('SIGKILL');
    await writer.ended(10_000);
    const acknowledged = Number([...writer.stdout.matchAll(/acknowledged (\d+)\n/g)].at(-1)?.[1]);
    const engine = await open(directory);
    const { version: found } = await engine.describeObject({ layerId: 1, objectIndex: 0 }, 0);
    t.true(
      found.seq >= acknowledged && found.seq <= acknowledged + 2,
      `${found.seq}, ${acknowledged}`,
    );
    const content = await contentOf(engine, 0, found.seq, 8);
    t.is(Math.max(...content), found.seq);
    await engine.close();
  }
});
