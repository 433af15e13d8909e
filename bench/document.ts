/**
 * The generated parts of a document: between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
 */
import fs from 'node:fs';

/** Error: the document has no such part. */
export function replaceGenerated(file: string, name: string, text: string): void {
  const document = fs.readFileSync(file, 'utf8');
  const begin = `<!-- ${name}:begin -->`;
  const end = `<!-- ${name}:end -->`;
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${file} has no part from '${begin}' to '${end}'`);
  const before = document.slice(0, from + begin.length);
  fs.writeFileSync(file, `${before}\n${text}\n${document.slice(to)}`);
}
