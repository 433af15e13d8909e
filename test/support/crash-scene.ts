/**
 * A server on one data directory that is loaded, killed and started again, with the model of what
 * its disk may hold.
 *
 * Owns: the server of the moment and its connections.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startProgram } from './child-process.ts';
import { DroverServer, type ServeOptions, serveArguments } from './drover-server.ts';
import { NbdClient } from './nbd-client.ts';
import type { SeededRandom } from './seeded-random.ts';
import { STAMPED_BLOCK_BYTES, StampedDiskModel } from './stamped-disk-model.ts';
import { type LoadMix, StampingWriter } from './stamping-writer.ts';
import { type TestScope, temporaryFolder } from './temp-folder.ts';

const DISK_MIB = 64;
const READ_BYTES = 1024 * 1024;
const READS_AT_ONCE = 8;
const BLOCK_COUNT = (DISK_MIB * 1024 * 1024) / STAMPED_BLOCK_BYTES;

export class CrashScene {
  options: ServeOptions;
  readonly model = new StampedDiskModel(BLOCK_COUNT);
  /** Blocks that did not hold their newest submitted operation after a crash, all told. */
  missingBlocks = 0;
  readonly #scope: TestScope;
  readonly #random: SeededRandom;
  #server: DroverServer | undefined;
  #clients: NbdClient[] = [];

  /** Makes a scene whose disk lies in a folder of its own; nothing is started yet. */
  static async prepare(t: TestScope, random: SeededRandom): Promise<CrashScene> {
    const folder = await temporaryFolder(t);
    return new CrashScene(t, random, {
      dataDirectory: join(folder, 'data'),
      socketPath: join(folder, 's'),
      volumes: [`disk0=${DISK_MIB}M`],
      // Half the disk, so that blocks are evicted and fetched all the time.
      cache: `${DISK_MIB / 2}M`,
    });
  }

  private constructor(t: TestScope, random: SeededRandom, options: ServeOptions) {
    this.#scope = t;
    this.#random = random;
    this.options = options;
  }

  /** Where the next server finds the data: another path to the same disk, say. */
  set dataDirectory(dataDirectory: string) {
    this.options = { ...this.options, dataDirectory };
  }

  get server(): DroverServer {
    if (this.#server === undefined) throw new Error('no server is running');
    return this.#server;
  }

  get clients(): readonly NbdClient[] {
    return this.#clients;
  }

  async start(): Promise<void> {
    const server = await DroverServer.start(this.#scope, this.options);
    this.#server = server;
    const { unixAddress, tcpAddress } = server;
    this.#clients = await Promise.all([
      NbdClient.attach(unixAddress, 'disk0'),
      NbdClient.attach(unixAddress, 'disk0', { structured: true }),
      NbdClient.attach(tcpAddress, 'disk0', { structured: true }),
    ]);
  }

  load(mix: LoadMix): StampingWriter {
    return new StampingWriter(this.model, this.#random, this.#clients, mix);
  }

  async kill(): Promise<void> {
    await this.server.kill();
    this.#gone();
  }

  /** To be told when the load on a dead server has ended. */
  crashed(): void {
    this.model.crashed();
  }

  /** A clean stop of a server that nobody asks anything: all that was answered is durable. */
  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.disconnect()));
    await this.server.stop();
    this.#gone();
    this.model.stoppedCleanly();
  }

  /** A clean stop in the middle of `writer`'s load: the same holds for what was answered. */
  async stopUnderLoad(writer: StampingWriter): Promise<void> {
    await this.server.stop();
    await writer.ended();
    this.#gone();
    this.model.stoppedCleanly();
    this.model.crashed();
  }

  #gone(): void {
    for (const client of this.#clients) client.destroy();
    this.#clients = [];
    this.#server = undefined;
  }

  /** A server that is killed at some moment of its start, most often while it replays. */
  async killDuringStart(): Promise<void> {
    const program = startProgram(this.#scope, process.execPath, serveArguments(this.options));
    await sleep(this.#random.between(20, 500));
    program.kill('SIGKILL');
    await program.ended(10_000);
  }

  /** Reads the whole disk and holds it against the model; what was read becomes the truth. */
  async verify(): Promise<void> {
    const blocksAtOnce = READ_BYTES / STAMPED_BLOCK_BYTES;
    let next = 0;
    const readOn = async (client: NbdClient): Promise<void> => {
      while (next < BLOCK_COUNT) {
        const startBlock = next;
        next += blocksAtOnce;
        const bytes = await client.read(startBlock * STAMPED_BLOCK_BYTES, READ_BYTES);
        for (let index = 0; index < blocksAtOnce; index++) {
          const at = index * STAMPED_BLOCK_BYTES;
          const block = bytes.subarray(at, at + STAMPED_BLOCK_BYTES);
          if (this.model.readAfterCrash(startBlock + index, block)) this.missingBlocks += 1;
        }
      }
    };
    const readers = Array.from({ length: READS_AT_ONCE }, (_, index) =>
      readOn(this.#clients[index % this.#clients.length]!),
    );
    await Promise.all(readers);
  }
}
