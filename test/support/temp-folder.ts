/**
 * A folder of a test's own, gone when the test is over.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What the support code needs of a test: ava's `t`, whose teardowns run last one first. */
export interface TestScope {
  teardown(clean: () => unknown): void;
  log(message: string): void;
  /** Ava's, true once the test has passed; another scope may leave it out. */
  readonly passed?: boolean;
}

export async function temporaryFolder(t: TestScope): Promise<string> {
  // Short, because a unix socket's path may have only 107 bytes.
  const folder = await mkdtemp(join(tmpdir(), 'drover-'));
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}
