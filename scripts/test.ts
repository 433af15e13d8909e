/**
 * `npm test`: Debian's packages, type check, lint, then every test; ends with `N passed, N failed`.
 *
 * `--long` runs test/long as well. `--compose` runs test/compose and nothing else, with the packages
 * for containers; `--speed` runs test/speed and nothing else. Other arguments go to ava: files,
 * `--match`, and so on. The type check and the lint count as one test each.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { CONTAINER_PACKAGES, provideTestPackages, TEST_PACKAGES } from './debian-packages.ts';
import { TapTally } from './tap-tally.ts';

const ROOT = join(import.meta.dirname, '..');
const BIN = join(ROOT, 'node_modules', '.bin');

const long = process.argv.includes('--long');
const compose = process.argv.includes('--compose');
const speed = process.argv.includes('--speed');
const FOLDER_OPTIONS = ['--long', '--compose', '--speed'];
const avaArguments = [
  ...process.argv.slice(2).filter((argument) => !FOLDER_OPTIONS.includes(argument)),
  ...(compose ? ['test/compose/**'] : []),
  ...(speed ? ['test/speed/**'] : []),
];

/** Programs of the checkout first; the system's own tools where a plain user's PATH lacks them. */
const environment = {
  ...process.env,
  PATH: [BIN, process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter),
  ...(long ? { DROVER_TEST_LONG: '1' } : {}),
  ...(compose ? { DROVER_TEST_COMPOSE: '1' } : {}),
  ...(speed ? { DROVER_TEST_SPEED: '1' } : {}),
};

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  const child = spawn(join(BIN, command), args, { cwd: ROOT, stdio: 'inherit', env: environment });
  const [code] = await once(child, 'close');
  return code === 0;
}

async function check(tally: TapTally, title: string, command: string, ...args: string[]) {
  if (await succeeds(command, args)) {
    tally.passed += 1;
    console.log(`  ✔ ${title}`);
  } else {
    tally.fail(title);
    console.log(`  ✘ ${title}`);
  }
}

async function runTests(tally: TapTally): Promise<void> {
  const child = spawn(join(BIN, 'ava'), ['--tap', ...avaArguments], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: environment,
  });
  const closed = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) {
    const printed = tally.take(line);
    if (printed !== undefined) console.log(printed);
  }
  const [code, signal] = await closed;
  if (code !== 0 && tally.failures.length === 0) tally.fail(`ava ended with ${code ?? signal}`);
}

const packages = compose ? [...TEST_PACKAGES, ...CONTAINER_PACKAGES] : TEST_PACKAGES;
const problem = provideTestPackages(packages);
if (problem !== undefined) {
  console.error(problem);
  process.exit(1);
}
const tally = new TapTally();
if (!compose && !speed) {
  await check(tally, 'type check', 'tsc', '--noEmit');
  await check(tally, 'lint', 'biome', 'check', '--error-on-warnings', '.');
}
const checks = tally.passed + tally.failed;
await runTests(tally);
if (tally.passed + tally.failed === checks) tally.fail('no test ran');
if (tally.failed > 0) console.log(`\n${tally.report()}`);
console.log(`\n${tally.passed} passed, ${tally.failed} failed`);
process.exitCode = tally.failed === 0 ? 0 : 1;
