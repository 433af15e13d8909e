/**
 * The package as a user gets it: packed, installed in an empty folder, run.
 */
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { run, runToEnd, startProgram } from './support/child-process.ts';
import { temporaryFolder } from './support/temp-folder.ts';

const ROOT = join(import.meta.dirname, '..');
const LIMIT_MS = 120_000;
/** The Node that a checkout may be used with, but not the package. */
const OLD_NODE_VERSION = 'v22.0.0';

/** Packs a copy of the checkout, so that nothing is written in it. */
async function pack(folder: string): Promise<string> {
  const copy = join(folder, 'copy');
  await mkdir(copy);
  const names = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'README.md'];
  for (const name of [...names, 'CHANGELOG.md', 'docs', 'scripts', 'server', 'store']) {
    await cp(join(ROOT, name), join(copy, name), { recursive: true });
  }
  await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  await run(LIMIT_MS, 'npm', ['pack', '--pack-destination', folder], { cwd: copy });
  const packed = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
  return join(folder, packed!);
}

async function install(folder: string, tarball: string): Promise<string> {
  const target = join(folder, 'installed');
  await mkdir(target);
  await writeFile(join(target, 'package.json'), '{"private": true}\n');
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund'];
  await run(LIMIT_MS, 'npm', ['install', '--prefix', target, ...quiet, tarball], { cwd: target });
  return target;
}

async function installed(t: ExecutionContext) {
  t.timeout(3 * LIMIT_MS);
  const folder = await temporaryFolder(t);
  const target = await install(folder, await pack(folder));
  return { folder, target, drover: join(target, 'node_modules', '.bin', 'drover') };
}

test('the packed package serves a disk and stops cleanly', async (t) => {
  const { folder, target, drover } = await installed(t);
  t.regex(await run(LIMIT_MS, drover, ['--version']), /^\d+\.\d+\.\d+\n$/);

  const socket = join(folder, 's');
  const args = ['serve', '--nbd', `unix:${socket}`, '--http', '127.0.0.1:0', '--cache', '64M'];
  const server = startProgram(t, drover, args, { cwd: target });
  await server.printed(/^drover is ready$/m, LIMIT_MS);
  const uri = `nbd+unix:///disk0?socket=${socket}`;
  t.is((await run(LIMIT_MS, 'nbdinfo', ['--size', uri])).trim(), String(10 * 1024 ** 3));
  server.kill('SIGTERM');
  t.is((await server.ended(LIMIT_MS)).code, 0);

  // Nothing but what is needed to run it: the package brings no Node of its own and no sources.
  const packages = await readdir(join(target, 'node_modules'));
  for (const name of ['node', 'typescript', 'ava']) t.false(packages.includes(name), name);
  const files = await readdir(join(target, 'node_modules', 'drover'), { recursive: true });
  t.deepEqual(
    files.filter((name) => name.endsWith('.ts')),
    [],
  );
});

test('under an older Node the command says which one it needs', async (t) => {
  const folder = await temporaryFolder(t);
  const pretend = join(folder, 'old-node.mjs');
  const version = JSON.stringify(OLD_NODE_VERSION);
  await writeFile(
    pretend,
    `Object.defineProperty(process, 'version', { value: ${version} });
     Object.defineProperty(process.versions, 'node', { value: ${version}.slice(1) });`,
  );
  const main = join(ROOT, 'server', 'cli', 'main.ts');
  const result = await runToEnd(LIMIT_MS, process.execPath, ['--import', pretend, main, '--help']);
  t.deepEqual([result.code, result.stdout], [1, '']);
  t.is(result.stderr, `drover needs Node 24 or newer; this is ${OLD_NODE_VERSION}\n`);
});

test('npm start passes SIGTERM on, and ends with 0 once the server has stopped', async (t) => {
  t.timeout(LIMIT_MS);
  // A checkout of its own as far as data goes: the data directory is made where npm runs.
  const folder = await temporaryFolder(t);
  await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
  for (const name of ['node_modules', 'server', 'store']) {
    await symlink(join(ROOT, name), join(folder, name));
  }
  const addresses = ['--nbd', '127.0.0.1:0', '--http', '127.0.0.1:0', '--cache', '64M'];
  const npm = startProgram(t, 'npm', ['start', '--', ...addresses], { cwd: folder });
  await npm.printed(/^drover is ready$/m, LIMIT_MS);
  npm.kill('SIGTERM');
  t.is((await npm.ended(LIMIT_MS)).code, 0);
  t.regex(npm.stderr, /everything is durable/);
});

test('the lock file has every optional package, so that npm ci takes it', async (t) => {
  interface LockedPackage {
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  }
  const text = await readFile(join(ROOT, 'package-lock.json'), 'utf8');
  const { packages } = JSON.parse(text) as { packages: Record<string, LockedPackage> };
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) =>
        !(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages),
    ),
  );
  t.deepEqual(missing, []);
});
