/**
 * A program that serves one disk in memory, for comparisons with other servers and for profiles:
 * `node test/server/nbd/memory-server.ts SOCKET-PATH SIZE-MIB [allocated]`. Ends with SIGTERM.
 */
import { NbdServer } from '../../../server/nbd/nbd-server.ts';
import { systemClock } from '../../../store/runtime/clock.ts';
import { MemoryCatalog } from './memory-catalog.ts';
import { MemoryDevice } from './memory-device.ts';

const [path, sizeMib, state] = process.argv.slice(2);
if (path === undefined || sizeMib === undefined) {
  throw new Error('usage: memory-server SOCKET-PATH SIZE-MIB [allocated]');
}
const device = new MemoryDevice({ sizeBytes: Number(sizeMib) * 1024 * 1024 });
if (state === 'allocated') {
  const block = Buffer.alloc(4096, 0xa5);
  for (let at = 0; at < device.sizeBytes; at += block.length) device.tryWrite(at, 4096, block, 0);
}
const logger = {
  debug: () => {},
  info: console.error,
  warn: console.error,
  error: console.error,
};
const server = new NbdServer({ catalog: new MemoryCatalog(device), clock: systemClock, logger });
await server.listen({ path });
const tcp = await server.listen({ host: '127.0.0.1', port: 0 });
console.log(`listening on ${path} and port ${'port' in tcp.address ? tcp.address.port : ''}`);
process.once('SIGTERM', async () => {
  await server.close(1000);
});
