import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { replaceGenerated } from '../../bench/document.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

test('only the generated part of that name is replaced, again and again', async (t) => {
  const file = join(await temporaryFolder(t), 'page.md');
  await writeFile(
    file,
    'a\n<!-- one:begin -->\nold\n<!-- one:end -->\nb\n<!-- two:begin -->\nkept\n<!-- two:end -->\n',
  );
  replaceGenerated(file, 'one', 'new');
  replaceGenerated(file, 'one', 'newer');
  t.is(
    await readFile(file, 'utf8'),
    'a\n<!-- one:begin -->\nnewer\n<!-- one:end -->\nb\n<!-- two:begin -->\nkept\n<!-- two:end -->\n',
  );
});

test('a document without the part is refused and left as it is', async (t) => {
  const file = join(await temporaryFolder(t), 'page.md');
  await writeFile(file, 'text');
  t.throws(() => replaceGenerated(file, 'one', 'new'), { message: /no part/ });
  t.is(await readFile(file, 'utf8'), 'text');
});
