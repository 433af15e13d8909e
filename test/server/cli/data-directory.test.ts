import test from 'ava';
import { makeDataDirectory } from '../../../server/cli/data-directory.ts';
import type { Disk } from '../../../store/runtime/disk.ts';

/** A disk that knows some directories and keeps what was asked of it. */
function recordingDisk(existing: readonly string[]) {
  const asked: string[] = [];
  const disk = {
    list: async (path: string) => {
      if (existing.includes(path)) return [];
      throw Object.assign(new Error(`no ${path}`), { code: 'ENOENT' });
    },
    makeDirectory: async (path: string) => {
      asked.push(`make ${path}`);
    },
    syncDirectory: async (path: string) => {
      asked.push(`sync ${path}`);
    },
  } as Partial<Disk> as Disk;
  return { disk, asked };
}

test('every entry that is new is made durable', async (t) => {
  const { disk, asked } = recordingDisk(['/', '/srv']);
  await makeDataDirectory(disk, '/srv/a/b');
  t.deepEqual(asked, ['make /srv/a/b', 'sync /srv/a', 'sync /srv']);
});

test('a directory that is there is left alone', async (t) => {
  const { disk, asked } = recordingDisk(['/', '/srv']);
  await makeDataDirectory(disk, '/srv');
  t.deepEqual(asked, []);
});

test('a directory that may not be looked at is an error', async (t) => {
  const { disk } = recordingDisk([]);
  const denied = Object.assign(new Error('denied'), { code: 'EACCES' });
  const closed: Disk = { ...disk, list: () => Promise.reject(denied) };
  await t.throwsAsync(makeDataDirectory(closed, '/srv'), { is: denied });
});
