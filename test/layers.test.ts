/**
 * The layers of the design: who may import whom.
 */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import test from 'ava';

const ROOT = join(import.meta.dirname, '..');

/** For each folder, the other folders that its files may import; `.` is a file beside them. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'store/runtime': [],
  'store/engine': ['store', 'store/runtime'],
  'store/peer': ['store', 'store/runtime', 'store/engine'],
  'store/replication': [
    ...['store', 'store/runtime', 'store/engine', 'store/peer', 'store/control'],
  ],
  'store/control': ['store', 'store/runtime'],
  store: ['store/runtime'],
  'server/cache': ['store', 'store/runtime', 'store/engine', 'store/replication'],
  'server/volume': [
    ...['store', 'store/runtime', 'store/engine', 'store/replication', 'store/control'],
    'server/cache',
  ],
  'server/nbd': ['store', 'store/runtime', 'server/volume'],
  // Metrics look at the counts of every part; nothing else of them is used.
  'server/http': [
    ...['store', 'store/runtime', 'store/engine', 'store/peer', 'store/replication'],
    ...['store/control', 'server/cache', 'server/volume', 'server/nbd'],
  ],
};
/** The wiring may import everything. */
const WIRING = 'server/cli';

const IMPORT = /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s*['"]([^'"]+)['"]/g;
const BARE_IMPORT = /(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g;
const DYNAMIC_IMPORT = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

async function sourceFiles(folder: string): Promise<string[]> {
  const names = await readdir(join(ROOT, folder), { recursive: true });
  return names.filter((name) => name.endsWith('.ts')).map((name) => join(folder, name));
}

/** The deepest folder of the table that the file is in. */
function layerOf(file: string): string | undefined {
  for (let folder = dirname(file); folder !== '.'; folder = dirname(folder)) {
    if (folder === WIRING || folder in MAY_IMPORT) return folder;
  }
  return undefined;
}

function importsOf(source: string): string[] {
  return [IMPORT, BARE_IMPORT, DYNAMIC_IMPORT].flatMap((pattern) =>
    [...source.matchAll(pattern)].map((match) => match[1]!),
  );
}

function breaches(file: string, source: string): string[] {
  const layer = layerOf(file);
  if (layer === undefined) return [`${file} is in no layer`];
  if (layer === WIRING) return [];
  return importsOf(source)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => relative(ROOT, join(ROOT, dirname(file), specifier)))
    .filter((target) => {
      const targetLayer = layerOf(target);
      return targetLayer !== layer && !MAY_IMPORT[layer]!.includes(targetLayer ?? '');
    })
    .map((target) => `${file} imports ${target}`);
}

test('every import obeys the layers', async (t) => {
  const files = [...(await sourceFiles('server')), ...(await sourceFiles('store'))];
  t.true(files.length > 20);
  const found: string[] = [];
  for (const file of files) {
    found.push(...breaches(file, await readFile(join(ROOT, file), 'utf8')));
  }
  t.deepEqual(found, []);
});

test('an upward import is found in every form', (t) => {
  const sources = [
    `import { a } from '../../server/cache/x.ts';`,
    `import {\n  a,\n  type B,\n} from '../../server/cache/x.ts';`,
    `import type { A } from '../../server/cache/x.ts';`,
    `export * from '../../server/cache/x.ts';`,
    `import '../../server/cache/x.ts';`,
    `const x = await import('../../server/cache/x.ts');`,
  ];
  for (const source of sources) {
    const found = breaches('store/engine/a.ts', source);
    t.deepEqual(found, ['store/engine/a.ts imports server/cache/x.ts'], source);
  }
  t.deepEqual(breaches('store/engine/a.ts', `import { c } from '../runtime/clock.ts';`), []);
  t.is(breaches('store/engine/a.ts', `import { c } from '../control/x.ts';`).length, 1);
  t.is(breaches('store/peer/a.ts', `import { c } from '../replication/x.ts';`).length, 1);
  t.is(breaches('server/volume/a.ts', `import { c } from '../nbd/x.ts';`).length, 1);
});
