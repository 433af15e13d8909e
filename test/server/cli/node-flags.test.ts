import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { NODE_FLAGS } from '../../../server/cli/node-flags.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const FLAGS = NODE_FLAGS.join(' ');

test('the program starts itself with the flags of a server', (t) => {
  const firstLine = readFileSync(join(ROOT, 'server/cli/main.ts'), 'utf8').split('\n')[0];
  t.is(firstLine, `#!/usr/bin/env -S node ${FLAGS}`);
});

for (const name of ['start', 'drover']) {
  test(`npm run ${name} starts Node with the flags of a server`, (t) => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    t.true(scripts[name]!.startsWith(`exec node ${FLAGS} server/cli/main.ts`), scripts[name]);
  });
}
