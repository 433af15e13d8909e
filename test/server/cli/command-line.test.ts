import test from 'ava';
import { type CommandResult, runToEnd } from '../../support/child-process.ts';
import { MAIN } from '../../support/drover-server.ts';

const LIMIT_MS = 30_000;

function drover(args: readonly string[], env: Record<string, string> = {}): Promise<CommandResult> {
  return runToEnd(LIMIT_MS, process.execPath, [MAIN, ...args], { env });
}

test('a bad value is one line with the option, the value and what is allowed', async (t) => {
  const cases: [option: string, value: string, allowed: RegExp][] = [
    ['--cache', '10X', /as in 512M/],
    ['--cache', '1K', /from 16 MiB/],
    ['--nbd', '10809', /HOST:PORT.*unix:PATH/],
    ['--http', 'unix:/x', /HOST:PORT/],
    ['--volume', 'disk0', /NAME=SIZE/],
    ['--volume', '-x=1G', /NAME is a letter or digit/],
    ['--volume', 'disk0=1X', /SIZE is bytes/],
    ['--log-level', 'loud', /info, debug/],
    ['--data', '', /directory/],
  ];
  for (const [option, value, allowed] of cases) {
    const result = await drover(['serve', `${option}=${value}`]);
    t.is(result.code, 2, option);
    t.is(result.stdout, '');
    const [line, ...rest] = result.stderr.trim().split('\n');
    t.deepEqual(rest, [], result.stderr);
    t.true(line!.includes(`'${value}'`), line);
    t.true(line!.includes(option), line);
    t.regex(line!, allowed);
  }
});

test('so it is with the programs of a cluster', async (t) => {
  const gateway = ['gateway', '--id', 'g', '--control', 'etcd://127.0.0.1:1'];
  const store = ['store', '--id', 's', '--data', 'd', '--control', 'etcd://127.0.0.1:1'];
  const cases: [args: string[], allowed: RegExp][] = [
    [[...gateway, '--control', '127.0.0.1:2379'], /etcd:\/\/HOST:PORT/],
    [[...gateway, '--control', 'etcd://a:1,b'], /etcd:\/\/HOST:PORT/],
    [[...gateway, '--id', '../g'], /letters, digits/],
    [[...gateway, '--copies', '0'], /from 1 to 16/],
    [[...gateway, '--silence-limit', '5'], /as in 5s/],
    [[...gateway, '--resync-rate', '1K'], /from 1 MiB/],
    [[...store, '--listen', '0.0.0.0:1'], /--advertise HOST:PORT/],
    [[...store, '--listen', '127.0.0.1:1', '--capacity', '1M'], /from 512 MiB/],
  ];
  for (const [args, allowed] of cases) {
    const { code, stderr } = await drover(args);
    t.is(code, 2, args.join(' '));
    t.regex(stderr, allowed);
    t.is(stderr.trim().split('\n').length, 1, stderr);
  }
});

test('a bad value of a variable names the variable', async (t) => {
  const cases: [variable: string, value: string, args: string[]][] = [
    ['DROVER_CACHE', 'much', ['serve']],
    ['DROVER_NBD', '127.0.0.1:1,elsewhere', ['serve']],
    ['DROVER_LOG_LEVEL', 'loud', ['serve']],
    ['DROVER_SERVER', 'nowhere', ['volume', 'ls']],
    ['DROVER_JSON', 'perhaps', ['volume', 'ls', '--server', 'http://127.0.0.1:1']],
    ['DROVER_FORCE', 'perhaps', ['volume', 'rm', 'a', '--server', 'http://127.0.0.1:1']],
    ['DROVER_SIZE', 'large', ['volume', 'create', 'a']],
  ];
  for (const [variable, value, args] of cases) {
    const { code, stderr } = await drover(args, { [variable]: value });
    t.is(code, 2, variable);
    t.regex(stderr, new RegExp(`'${variable}'.*Allowed: `));
  }
});

test('a command line that makes no sense exits with 2', async (t) => {
  for (const args of [
    ['nosuch'],
    ['serve', '--nosuch'],
    ['serve', 'extra'],
    ['gateway', '--id', 'g'],
    ['store', '--id', 's'],
    ['volume', 'verify'],
    ['node'],
    ['volume', 'create', 'a'],
    ['volume', 'show'],
    ['volume', 'show', '../a'],
    [],
  ]) {
    const result = await drover(args);
    t.is(result.code, 2, args.join(' '));
    t.not(result.stderr, '');
  }
});

test('help names every option, its variable and its default', async (t) => {
  const { code, stdout } = await drover(['serve', '--help']);
  t.is(code, 0);
  for (const name of ['DATA', 'NBD', 'HTTP', 'VOLUME', 'CACHE', 'LOG_LEVEL']) {
    t.true(stdout.includes(`DROVER_${name}`), name);
  }
  for (const word of ['./drover-data', '127.0.0.1:10809', '127.0.0.1:9809', 'an eighth of the']) {
    t.true(stdout.replace(/\s+/g, ' ').includes(word), word);
  }
});

test('--version prints the version of the package', async (t) => {
  const { code, stdout } = await drover(['--version']);
  t.is(code, 0);
  t.regex(stdout, /^\d+\.\d+\.\d+\n$/);
});
