import test from 'ava';
import {
  exportUri,
  READY_LINE,
  type ReadyFacts,
  readyText,
} from '../../../server/cli/ready-text.ts';

const FACTS: ReadyFacts = {
  version: '1.2.3',
  source: 'data in /data',
  cacheBytes: 1024 ** 3,
  nbd: [{ host: '127.0.0.1', port: 10809 }, { path: '/run/d.sock' }],
  http: { host: '::1', port: 9809 },
  volumes: [{ name: 'disk0', sizeBytes: 10 * 1024 ** 3 }],
};

test('an export is a URI that every NBD tool takes', (t) => {
  t.is(exportUri({ host: '0.0.0.0', port: 5 }, 'd'), 'nbd://127.0.0.1:5/d');
  t.is(exportUri({ host: '::1', port: 5 }, 'd'), 'nbd://[::1]:5/d');
  t.is(exportUri({ path: '/run/a b.sock' }, 'd'), 'nbd+unix:///d?socket=/run/a%20b.sock');
});

test('the ready text holds every address and ends with the ready line', (t) => {
  const lines = readyText(FACTS).split('\n');
  t.is(lines.at(-1), READY_LINE);
  const text = lines.join('\n');
  for (const part of [
    'nbd://127.0.0.1:10809/disk0',
    'nbd+unix:///disk0?socket=/run/d.sock',
    'http://[::1]:9809',
    'nbd-client 127.0.0.1 10809 /dev/nbd0 -N disk0',
    'disk0  10 GiB',
  ]) {
    t.true(text.includes(part), part);
  }
});

test('many volumes do not make it long', (t) => {
  const volumes = Array.from({ length: 500 }, (_, i) => ({ name: `v${i}`, sizeBytes: 4096 }));
  const text = readyText({ ...FACTS, volumes });
  t.true(text.split('\n').length < 30);
  t.regex(text, /and 490 more: drover volume ls/);
});
