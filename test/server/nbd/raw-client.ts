/**
 * A client that sends and receives bytes as a test says, and a server in the same process for it.
 */
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import type { NbdLimits } from '../../../server/nbd/limits.ts';
import type { NbdAddress } from '../../../server/nbd/listener.ts';
import { NbdServer } from '../../../server/nbd/nbd-server.ts';
import { type Clock, systemClock } from '../../../store/runtime/clock.ts';
import { ByteReader } from '../../support/byte-reader.ts';
import { type TestScope, temporaryFolder } from '../../support/temp-folder.ts';
import { withinTime } from '../../support/time-limit.ts';
import { GREETING, infoData, metaData, option, u32 } from './bytes.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryCatalog } from './memory-catalog.ts';
import { MemoryDevice, type MemoryDeviceOptions } from './memory-device.ts';

const LIMIT_MS = 30_000;

export interface Attachment {
  readonly structured?: boolean;
  readonly baseAllocation?: boolean;
}

export class RawClient {
  readonly socket: net.Socket;
  readonly #reader = new ByteReader();
  readonly #closed: Promise<unknown>;

  static async connect(address: NbdAddress): Promise<RawClient> {
    const socket = net.connect({ ...address });
    await withinTime('connection', LIMIT_MS, once(socket, 'connect'));
    return new RawClient(socket);
  }

  private constructor(socket: net.Socket) {
    this.socket = socket;
    this.#closed = new Promise((resolve) => {
      socket.once('close', resolve);
    });
    socket.on('data', (bytes: Buffer) => this.#reader.push(bytes));
    socket.on('error', (error) => this.#reader.fail(error));
    socket.on('close', () => this.#reader.fail(new Error('the connection was closed')));
  }

  send(...bytes: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  async take(byteCount: number): Promise<Buffer> {
    return withinTime(`${byteCount} bytes`, LIMIT_MS, this.#reader.take(byteCount));
  }

  /** Takes the greeting and accepts it. */
  async greet(clientFlags = 3): Promise<void> {
    await this.take(GREETING.length);
    this.send(u32(clientFlags));
  }

  /** Goes through the handshake into the transmission. */
  async attach(name: string, { structured, baseAllocation }: Attachment = {}): Promise<void> {
    await this.greet();
    if (structured === true || baseAllocation === true) {
      this.send(option(8));
      await this.take(20);
    }
    if (baseAllocation === true) {
      this.send(option(10, metaData(name, 'base:allocation')));
      await this.take(20 + 4 + 'base:allocation'.length + 20);
    }
    this.send(option(7, infoData(name)));
    await this.take(20 + 12 + 20);
  }

  /** Resolves when the server has closed the connection. */
  async closed(): Promise<void> {
    await withinTime('the end of the connection', LIMIT_MS, this.#closed);
  }
}

export interface ServerOfTest {
  readonly server: NbdServer;
  readonly catalog: MemoryCatalog;
  readonly device: MemoryDevice;
  readonly path: string;
  /** Over the unix socket unless told otherwise. */
  connect(address?: NbdAddress): Promise<RawClient>;
  attach(attachment?: Attachment): Promise<RawClient>;
}

/** A server with one export, `disk` of 1 MiB unless told otherwise, until the test is over. */
export async function startServer(
  t: TestScope,
  options: MemoryDeviceOptions = {},
  limits: Partial<NbdLimits> = {},
  clock: Clock = systemClock,
): Promise<ServerOfTest> {
  const device = new MemoryDevice(options);
  const catalog = new MemoryCatalog(device);
  const server = new NbdServer({ catalog, clock, limits });
  const path = join(await temporaryFolder(t), 'nbd');
  await server.listen({ path });
  t.teardown(() => {
    const closed = server.close(0);
    if (clock instanceof ManualClock) clock.advance(0);
    return closed;
  });
  const connect = async (address: NbdAddress = { path }) => {
    const client = await RawClient.connect(address);
    t.teardown(() => client.socket.destroy());
    return client;
  };
  const attach = async (attachment?: Attachment) => {
    const client = await connect();
    await client.attach(device.name, attachment);
    return client;
  };
  return { server, catalog, device, path, connect, attach };
}
