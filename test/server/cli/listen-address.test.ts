import test from 'ava';
import {
  formatListenAddress,
  isLocal,
  listenAddressSchema,
  reachableAddress,
  tcpAddressSchema,
} from '../../../server/cli/listen-address.ts';

test('an address is HOST:PORT, [IPv6]:PORT or unix:PATH', (t) => {
  const cases: [string, object][] = [
    ['127.0.0.1:10809', { host: '127.0.0.1', port: 10809 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['[::1]:10809', { host: '::1', port: 10809 }],
    ['unix:/run/drover.sock', { path: '/run/drover.sock' }],
    ['unix:relative', { path: 'relative' }],
  ];
  for (const [text, address] of cases) {
    const read = listenAddressSchema.parse(text);
    t.deepEqual({ ...read }, address);
    t.is(formatListenAddress(read), text);
  }
});

test('what is no address is refused', (t) => {
  const long = `unix:${'x'.repeat(108)}`;
  for (const text of [
    '',
    '10809',
    ':10809',
    'host:',
    'h:65536',
    '::1:5',
    '[::g]:5',
    'unix:',
    long,
  ]) {
    t.false(listenAddressSchema.safeParse(text).success, text);
  }
  t.false(tcpAddressSchema.safeParse('unix:/run/x').success);
});

test('a unix socket and loopback are local, everything else is not', (t) => {
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) {
    t.true(isLocal({ host, port: 1 }), host);
  }
  t.true(isLocal({ path: '/run/x' }));
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org', '127.example.org']) {
    t.false(isLocal({ host, port: 1 }), host);
  }
});

test('a client on this machine reaches a server on every interface through loopback', (t) => {
  t.deepEqual(reachableAddress({ host: '0.0.0.0', port: 7 }), { host: '127.0.0.1', port: 7 });
  t.deepEqual(reachableAddress({ host: '::', port: 7 }), { host: '::1', port: 7 });
  t.deepEqual(reachableAddress({ host: '10.0.0.1', port: 7 }), { host: '10.0.0.1', port: 7 });
});
