/**
 * A minimal NBD client for tests, written from the specification.
 *
 * Owns: one connection and the requests in flight on it. Requests run in parallel and may be
 * answered in any order. A lost connection rejects what is unanswered with `ConnectionLost`; an
 * error of the server with `NbdReplyError`, and the connection goes on.
 */
import { once } from 'node:events';
import net from 'node:net';
import { ByteReader } from './byte-reader.ts';
import { type ExportInfo, negotiate } from './nbd-handshake.ts';
import { withinTime } from './time-limit.ts';

export type NbdAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export const CMD_READ = 0;
export const CMD_WRITE = 1;
export const CMD_DISC = 2;
export const CMD_FLUSH = 3;
export const CMD_TRIM = 4;
export const CMD_WRITE_ZEROES = 6;
export const CMD_BLOCK_STATUS = 7;

export const FLAG_FUA = 1;

export const ERROR_ENOSPC = 28;
export const ERROR_ESHUTDOWN = 108;

const REQUEST_MAGIC = 0x25609513;
const SIMPLE_REPLY_MAGIC = 0x67446698;
const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

const CHUNK_NONE = 0;
const CHUNK_DATA = 1;
const CHUNK_HOLE = 2;
const CHUNK_BLOCK_STATUS = 5;
const CHUNK_ERROR_BIT = 0x8000;
const CHUNK_FLAG_DONE = 1;

export class NbdReplyError extends Error {
  readonly code: number;
  constructor(code: number, command: number) {
    super(`command ${command} was answered with error ${code}`);
    this.code = code;
  }
}

export class ConnectionLost extends Error {}

export interface Extent {
  readonly lengthBytes: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

interface PendingRequest {
  readonly command: number;
  readonly offset: number;
  readonly lengthBytes: number;
  /** Where a READ's bytes go. */
  readonly into: Buffer | undefined;
  readonly extents: Extent[];
  receivedBytes: number;
  errorCode: number;
  resolve(): void;
  reject(error: Error): void;
}

export function requestBytes(
  command: number,
  flags: number,
  cookie: number,
  offset: number,
  lengthBytes: number,
): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(REQUEST_MAGIC, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(command, 6);
  bytes.writeBigUInt64BE(BigInt(cookie), 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(lengthBytes, 24);
  return bytes;
}

export async function connectSocket(address: NbdAddress): Promise<net.Socket> {
  const socket =
    address.kind === 'tcp'
      ? net.connect(address.port, address.host)
      : net.connect({ path: address.path });
  socket.setNoDelay(true);
  await withinTime('connection to the server', 10_000, once(socket, 'connect'));
  return socket;
}

export class NbdClient {
  readonly info: ExportInfo;
  readonly #socket: net.Socket;
  readonly #reader: ByteReader;
  readonly #pending = new Map<number, PendingRequest>();
  #nextCookie = 1;
  #lost: ConnectionLost | undefined;

  /** Attaches to `exportName`; `structured` for structured replies and `base:allocation`. */
  static async attach(
    address: NbdAddress,
    exportName: string,
    { structured = false }: { structured?: boolean } = {},
  ): Promise<NbdClient> {
    const socket = await connectSocket(address);
    const reader = new ByteReader();
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    socket.on('error', (error) => reader.fail(new ConnectionLost(error.message)));
    socket.on('close', () => reader.fail(new ConnectionLost('connection closed')));
    try {
      const handshake = negotiate(socket, reader, exportName, structured);
      return new NbdClient(socket, reader, await withinTime('handshake', 10_000, handshake));
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  private constructor(socket: net.Socket, reader: ByteReader, info: ExportInfo) {
    this.info = info;
    this.#socket = socket;
    this.#reader = reader;
    void this.#receive();
  }

  async read(offset: number, lengthBytes: number): Promise<Buffer> {
    const into = Buffer.alloc(lengthBytes);
    await this.#request(CMD_READ, 0, offset, lengthBytes, { into });
    return into;
  }

  async write(offset: number, payload: Buffer, flags = 0): Promise<void> {
    await this.#request(CMD_WRITE, flags, offset, payload.length, { payload });
  }

  async flush(): Promise<void> {
    await this.#request(CMD_FLUSH, 0, 0, 0);
  }

  async trim(offset: number, lengthBytes: number, flags = 0): Promise<void> {
    await this.#request(CMD_TRIM, flags, offset, lengthBytes);
  }

  async writeZeroes(offset: number, lengthBytes: number, flags = 0): Promise<void> {
    await this.#request(CMD_WRITE_ZEROES, flags, offset, lengthBytes);
  }

  async blockStatus(offset: number, lengthBytes: number): Promise<readonly Extent[]> {
    return (await this.#request(CMD_BLOCK_STATUS, 0, offset, lengthBytes)).extents;
  }

  /** Says goodbye and waits until the server has closed the connection. */
  async disconnect(): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.end(requestBytes(CMD_DISC, 0, 0, 0, 0));
    await withinTime('end of the connection after NBD_CMD_DISC', 10_000, closed);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #request(
    command: number,
    flags: number,
    offset: number,
    lengthBytes: number,
    { into, payload }: { into?: Buffer; payload?: Buffer } = {},
  ): Promise<PendingRequest> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) {
        reject(this.#lost);
        return;
      }
      const cookie = this.#nextCookie++;
      const pending: PendingRequest = {
        command,
        offset,
        lengthBytes,
        into,
        extents: [],
        receivedBytes: 0,
        errorCode: 0,
        resolve: () => resolve(pending),
        reject,
      };
      this.#pending.set(cookie, pending);
      this.#socket.cork();
      this.#socket.write(requestBytes(command, flags, cookie, offset, lengthBytes));
      if (payload !== undefined) this.#socket.write(payload);
      this.#socket.uncork();
    });
  }

  async #receive(): Promise<void> {
    try {
      for (;;) await this.#receiveReply();
    } catch (error) {
      this.#lost = error instanceof ConnectionLost ? error : new ConnectionLost(String(error));
      this.#socket.destroy();
      for (const pending of this.#pending.values()) pending.reject(this.#lost);
      this.#pending.clear();
      // Anything but the end of the connection is a breach of the protocol.
      if (error !== this.#lost) throw error;
    }
  }

  async #receiveReply(): Promise<void> {
    const magic = (await this.#reader.take(4)).readUInt32BE();
    if (magic === SIMPLE_REPLY_MAGIC) await this.#receiveSimpleReply();
    else if (magic === STRUCTURED_REPLY_MAGIC) await this.#receiveChunk();
    else throw new Error(`no reply starts with ${magic.toString(16)}`);
  }

  async #receiveSimpleReply(): Promise<void> {
    const head = await this.#reader.take(12);
    const cookie = Number(head.readBigUInt64BE(4));
    const pending = this.#pendingOf(cookie);
    pending.errorCode = head.readUInt32BE(0);
    if (pending.errorCode === 0 && pending.into !== undefined) {
      (await this.#reader.take(pending.lengthBytes)).copy(pending.into);
      pending.receivedBytes = pending.lengthBytes;
    }
    this.#finish(cookie, pending);
  }

  async #receiveChunk(): Promise<void> {
    const head = await this.#reader.take(16);
    const flags = head.readUInt16BE(0);
    const type = head.readUInt16BE(2);
    const cookie = Number(head.readBigUInt64BE(4));
    const body = await this.#reader.take(head.readUInt32BE(12));
    const pending = this.#pendingOf(cookie);
    if (type === CHUNK_DATA || type === CHUNK_HOLE) {
      const at = Number(body.readBigUInt64BE(0)) - pending.offset;
      const bytes = type === CHUNK_DATA ? body.length - 8 : body.readUInt32BE(8);
      if (pending.into === undefined || at < 0 || bytes < 1 || at + bytes > pending.lengthBytes) {
        throw new Error(`chunk of ${bytes} bytes at ${at} is outside the request`);
      }
      if (type === CHUNK_DATA) body.copy(pending.into, at, 8);
      pending.receivedBytes += bytes;
    } else if (type === CHUNK_BLOCK_STATUS) {
      for (let at = 4; at < body.length; at += 8) {
        const status = body.readUInt32BE(at + 4);
        const lengthBytes = body.readUInt32BE(at);
        pending.extents.push({ lengthBytes, hole: (status & 1) !== 0, zero: (status & 2) !== 0 });
      }
    } else if ((type & CHUNK_ERROR_BIT) !== 0) {
      pending.errorCode = body.readUInt32BE(0);
    } else if (type !== CHUNK_NONE) {
      throw new Error(`unknown chunk type ${type}`);
    }
    if ((flags & CHUNK_FLAG_DONE) !== 0) this.#finish(cookie, pending);
  }

  #pendingOf(cookie: number): PendingRequest {
    const pending = this.#pending.get(cookie);
    if (pending === undefined) throw new Error(`reply to ${cookie}, which was not asked`);
    return pending;
  }

  #finish(cookie: number, pending: PendingRequest): void {
    this.#pending.delete(cookie);
    if (pending.errorCode !== 0) {
      pending.reject(new NbdReplyError(pending.errorCode, pending.command));
    } else if (pending.into !== undefined && pending.receivedBytes !== pending.lengthBytes) {
      pending.reject(
        new Error(`READ answered with ${pending.receivedBytes} of ${pending.lengthBytes} bytes`),
      );
    } else {
      pending.resolve();
    }
  }
}
