/** Joining pages of versions that came one after another into one. */
import type { VersionPage } from '../engine/store-node.ts';

export function joinPages(pages: readonly VersionPage[]): VersionPage {
  if (pages.length === 1) return pages[0]!;
  let count = 0;
  for (const page of pages) count += page.count;
  const objectIndexes = new Uint32Array(count);
  const epochs = new Uint32Array(count);
  const seqs = new Float64Array(count);
  let at = 0;
  for (const page of pages) {
    objectIndexes.set(page.objectIndexes.subarray(0, page.count), at);
    epochs.set(page.epochs.subarray(0, page.count), at);
    seqs.set(page.seqs.subarray(0, page.count), at);
    at += page.count;
  }
  return { count, objectIndexes, epochs, seqs };
}
