/**
 * libnbd's and QEMU's own programs against a real server.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { run, runToEnd } from '../support/child-process.ts';
import { DroverServer } from '../support/drover-server.ts';
import { randomForTest, SeededRandom } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LIMIT_MS = 60_000;
const MIB = 1024 * 1024;

interface Scene {
  readonly folder: string;
  readonly server: DroverServer;
}

async function serve(t: ExecutionContext, ...volumes: string[]): Promise<Scene> {
  t.timeout(180_000);
  const folder = await temporaryFolder(t);
  const server = await DroverServer.start(t, {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes,
  });
  return { folder, server };
}

interface MapEntry {
  readonly start: number;
  readonly length: number;
  readonly data: boolean;
  readonly zero: boolean;
}

/** What `qemu-img map` sees, neighbours of one kind merged. */
async function qemuMap(uri: string): Promise<string[]> {
  const json = await run(LIMIT_MS, 'qemu-img', ['map', '--output=json', '-f', 'raw', uri]);
  const merged: { start: number; end: number; kind: string }[] = [];
  for (const entry of JSON.parse(json) as MapEntry[]) {
    const kind = entry.data ? 'data' : 'hole';
    const last = merged.at(-1);
    if (last?.kind === kind) last.end += entry.length;
    else merged.push({ start: entry.start, end: entry.start + entry.length, kind });
  }
  return merged.map(({ start, end, kind }) => `${kind} ${start}-${end}`);
}

interface NbdinfoExtent {
  readonly offset: number;
  readonly length: number;
  readonly type: number;
}

/** What `nbdinfo --map` sees, neighbours of one type merged. */
async function nbdinfoMap(uri: string): Promise<string[]> {
  const json = await run(LIMIT_MS, 'nbdinfo', ['--map', '--json', uri]);
  const merged: { start: number; end: number; type: number }[] = [];
  for (const { offset, length, type } of JSON.parse(json) as NbdinfoExtent[]) {
    const last = merged.at(-1);
    if (last?.type === type) last.end += length;
    else merged.push({ start: offset, end: offset + length, type });
  }
  return merged.map(({ start, end, type }) => `${type === 0 ? 'data' : 'hole'} ${start}-${end}`);
}

async function qemuIo(uri: string, ...commands: string[]): Promise<string> {
  const args = commands.flatMap((command) => ['-c', command]);
  const output = await run(LIMIT_MS, 'qemu-io', ['-f', 'raw', '-t', 'writeback', ...args, uri]);
  // qemu-io exits with 0 when a pattern does not match in some versions, so its words count.
  if (/failed|error/i.test(output)) throw new Error(`qemu-io ${commands.join('; ')}: ${output}`);
  return output;
}

test.serial('nbdinfo lists every volume with its size and abilities', async (t) => {
  const { server } = await serve(t, 'disk0=64M', 'other=1G');
  interface NbdinfoExport {
    readonly 'export-name': string;
    readonly 'export-size': number;
    readonly [ability: string]: unknown;
  }
  const listed = JSON.parse(
    await run(LIMIT_MS, 'nbdinfo', ['--json', '--list', server.uri('')]),
  ) as { protocol: string; structured: boolean; exports: NbdinfoExport[] };
  t.is(listed.protocol, 'newstyle-fixed');
  t.true(listed.structured);
  const sizes = listed.exports.map((one) => [one['export-name'], one['export-size']]);
  t.deepEqual(sizes.sort(), [
    ['disk0', 64 * MIB],
    ['other', 1024 * MIB],
  ]);
  const disk0 = listed.exports.find((one) => one['export-name'] === 'disk0')!;
  t.like(disk0, {
    is_read_only: false,
    is_rotational: false,
    can_flush: true,
    can_fua: true,
    can_trim: true,
    can_zero: true,
    can_fast_zero: true,
    can_cache: true,
    can_df: true,
    can_multi_conn: true,
    contexts: ['base:allocation'],
    block_size_minimum: 1,
    block_size_preferred: 4096,
    block_size_maximum: 32 * MIB,
  });
});

test.serial('the empty export name means the only volume', async (t) => {
  const { server } = await serve(t, 'disk0=64M');
  t.is((await run(LIMIT_MS, 'nbdinfo', ['--size', server.uri('')])).trim(), String(64 * MIB));
});

test.serial('nbdinfo of an unknown export fails and the server goes on', async (t) => {
  const { server } = await serve(t, 'disk0=64M');
  t.not((await runToEnd(LIMIT_MS, 'nbdinfo', [server.uri('nosuch')])).code, 0);
  t.is((await run(LIMIT_MS, 'nbdinfo', ['--size', server.uri()])).trim(), String(64 * MIB));
});

test.serial('TCP and unix sockets serve the same disk', async (t) => {
  const { server } = await serve(t, 'disk0=64M');
  await qemuIo(server.uri(), 'write -P 0x5a 4k 8k', 'flush');
  await qemuIo(`nbd://127.0.0.1:${server.tcpPort}/disk0`, 'read -P 0x5a 4k 8k', 'read -P 0 0 4k');
  t.pass();
});

test.serial('maps show holes and data right after writes, zeroes and trims', async (t) => {
  const { server } = await serve(t, 'disk0=64M');
  const uri = server.uri();
  const empty = [`hole 0-${64 * MIB}`];
  t.deepEqual(await nbdinfoMap(uri), empty);
  await qemuIo(uri, 'write -P 1 4M 64k', 'write -P 2 12M 1M');
  const written = [
    `hole 0-${4 * MIB}`,
    `data ${4 * MIB}-${4 * MIB + 65536}`,
    `hole ${4 * MIB + 65536}-${12 * MIB}`,
    `data ${12 * MIB}-${13 * MIB}`,
    `hole ${13 * MIB}-${64 * MIB}`,
  ];
  t.deepEqual(await nbdinfoMap(uri), written);
  t.deepEqual(await qemuMap(uri), written);
  await qemuIo(uri, 'flush');
  t.deepEqual(await nbdinfoMap(uri), written);
  await qemuIo(uri, 'discard 4M 64k', 'write -z -u 12M 1M', 'flush');
  t.deepEqual(await nbdinfoMap(uri), empty);
  t.deepEqual(await qemuMap(uri), empty);
});

test.serial(
  'nbdcopy brings an image in and out over four connections, byte for byte',
  async (t) => {
    const { folder, server } = await serve(t, 'disk0=192M');
    const random = randomForTest(t);
    const image = Buffer.alloc(192 * MIB);
    // Data, then a hole, then data again, and an unaligned end of data.
    random.bytes(80 * MIB).copy(image, 0);
    random.bytes(24 * MIB + 777).copy(image, 128 * MIB);
    const [source, target] = [join(folder, 'source'), join(folder, 'target')];
    await writeFile(source, image);
    const connections = ['--connections=4', '--requests=16'];
    await run(LIMIT_MS, 'nbdcopy', [...connections, '--flush', source, server.uri()]);
    await run(LIMIT_MS, 'nbdcopy', [...connections, server.uri(), target]);
    t.true(image.equals(await readFile(target)));
    await server.stop();
  },
);

test.serial(
  'qemu-img converts a qcow2 onto the disk and back, and compare finds no difference',
  async (t) => {
    const { folder, server } = await serve(t, 'disk0=96M');
    const [raw, qcow2, back] = ['raw', 'qcow2', 'back'].map((name) => join(folder, name));
    const image = Buffer.alloc(96 * MIB);
    randomForTest(t)
      .bytes(40 * MIB)
      .copy(image, 16 * MIB);
    await writeFile(raw!, image);
    await run(LIMIT_MS, 'qemu-img', ['convert', '-O', 'qcow2', raw!, qcow2!]);
    const onto = [
      'convert',
      '-n',
      '-W',
      '-m',
      '8',
      '-f',
      'qcow2',
      '-O',
      'raw',
      qcow2!,
      server.uri(),
    ];
    await run(LIMIT_MS, 'qemu-img', onto);
    await run(LIMIT_MS, 'qemu-img', ['compare', '-f', 'raw', '-F', 'raw', raw!, server.uri()]);
    await run(LIMIT_MS, 'qemu-img', ['convert', '-f', 'raw', '-O', 'raw', server.uri(), back!]);
    t.true(image.equals(await readFile(back!)));
    const info = await run(LIMIT_MS, 'qemu-img', ['info', '--output=json', server.uri()]);
    t.is((JSON.parse(info) as { 'virtual-size': number })['virtual-size'], 96 * MIB);
  },
);

test.serial('qemu-img compare finds the one byte that differs', async (t) => {
  const { folder, server } = await serve(t, 'disk0=16M');
  const image = join(folder, 'image');
  await writeFile(image, Buffer.alloc(16 * MIB));
  await qemuIo(server.uri(), 'write -P 1 5000001 1');
  const args = ['compare', '-f', 'raw', '-F', 'raw', image, server.uri()];
  const result = await runToEnd(LIMIT_MS, 'qemu-img', args);
  t.is(result.code, 1);
  t.regex(result.stdout, /mismatch at offset/);
});

test.serial('qemu-img bench writes with flushes and reads at depth 32', async (t) => {
  const { server } = await serve(t, 'disk0=64M');
  const common = ['bench', '-f', 'raw', '-d', '32', '-s', '4096', '-S', '8192', '-c', '4000'];
  await run(LIMIT_MS, 'qemu-img', [...common, '-w', '--flush-interval=64', server.uri()]);
  await run(LIMIT_MS, 'qemu-img', [...common, server.uri()]);
  t.pass();
});

test.serial('qemu-io reads back patterns, zeroes, discards and unaligned pieces', async (t) => {
  const { server } = await serve(t, 'disk0=64M');
  await qemuIo(
    server.uri(),
    'write -P 0xaa 0 1M',
    'write -P 0xbb 4095 2', // the end of one block and the start of the next
    'read -P 0xaa 0 4095',
    'read -P 0xbb 4095 2',
    'read -P 0xaa 4097 8191',
    'write -z 64k 128k',
    'read -P 0 64k 128k',
    'write -z -u 256k 100000',
    'read -P 0 256k 100000',
    'read -P 0xaa 362144 512',
    'discard 512k 256k',
    'read -P 0 512k 256k',
    'write -P 0xcc 4194303 3', // across two objects
    'read -P 0xcc 4194303 3',
    'read -P 0 4194306 4096',
    'write -f -P 0xdd 8M 32M', // FUA, as large as a request may be
    'read -P 0xdd 8M 32M',
    'flush',
    'read -P 0xaa 4097 8191',
    'read -P 0xbb 4095 2',
    'write -P 0xee 67108863 1', // the last byte
    'read -P 0xee 67108863 1',
  );
  t.pass();
});

test.serial('a request past the end fails and the connection goes on', async (t) => {
  const { server } = await serve(t, 'disk0=1M');
  const script = [
    'import nbd, errno',
    'h = nbd.NBD()',
    'h.set_strict_mode(0)',
    `h.connect_uri("${server.uri()}")`,
    'def code(call):',
    '    try:',
    '        call()',
    '    except nbd.Error as error:',
    '        return errno.errorcode[error.errnum]',
    'print(code(lambda: h.pwrite(b"x" * 512, (1 << 20) - 511)))',
    'print(code(lambda: h.trim(512, (1 << 20) - 511)))',
    'print(code(lambda: h.zero(512, (1 << 20) - 511)))',
    'print(code(lambda: h.pread(512, (1 << 20) - 511)))',
    'print(code(lambda: h.pread(512, (1 << 20) - 512)))',
  ].join('\n');
  const output = await run(LIMIT_MS, '/usr/bin/python3', ['-c', script]);
  t.deepEqual(output.trim().split('\n'), ['ENOSPC', 'ENOSPC', 'ENOSPC', 'EINVAL', 'None']);
});

test.serial('libnbd reads holes as hole chunks and data as data chunks', async (t) => {
  const { server } = await serve(t, 'disk0=64M');
  await qemuIo(server.uri(), 'write -P 7 64k 64k');
  const script = [
    'import nbd',
    'h = nbd.NBD()',
    `h.connect_uri("${server.uri()}")`,
    'seen = []',
    'def chunk(buf, offset, status, err):',
    '    seen.append((offset, len(buf), status))',
    'h.pread_structured(262144, 0, chunk)',
    'for kind in (nbd.READ_DATA, nbd.READ_HOLE):',
    '    print(sum(length for _, length, status in seen if status == kind))',
  ].join('\n');
  const output = await run(LIMIT_MS, '/usr/bin/python3', ['-c', script]);
  t.deepEqual(output.trim().split('\n').map(Number), [65536, 262144 - 65536]);
});

test.serial('what nbdcopy flushed is there after the process was killed', async (t) => {
  const { folder, server } = await serve(t, 'disk0=64M');
  const image = new SeededRandom(7).bytes(64 * MIB);
  const [source, target] = [join(folder, 'source'), join(folder, 'target')];
  await writeFile(source, image);
  await run(LIMIT_MS, 'nbdcopy', ['--connections=4', '--flush', source, server.uri()]);
  await server.kill();
  const again = await DroverServer.start(t, {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=64M'],
  });
  await run(LIMIT_MS, 'nbdcopy', ['--connections=4', again.uri(), target]);
  t.true(image.equals(await readFile(target)));
});
