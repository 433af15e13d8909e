/**
 * More requests than a gateway can carry out, so that it is busy at any moment: reads of one byte
 * of its cache, which cost it much more than they cost whoever sends them.
 *
 * Owns: the connection. What is answered does not matter to anybody: the replies are thrown away,
 * and so is the end of the connection.
 */
import type { Socket } from 'node:net';
import { ByteReader } from '../support/byte-reader.ts';
import { CMD_READ, connectSocket, requestBytes } from '../support/nbd-client.ts';
import { negotiate } from '../support/nbd-handshake.ts';
import type { GatewayProcess } from './gateway-process.ts';

const REQUESTS_AT_ONCE = 1024;

export class Flood {
  readonly #socket: Socket;
  #isOver = false;

  static async start(gateway: GatewayProcess): Promise<Flood> {
    const socket = await connectSocket({ kind: 'unix', path: gateway.socketPath });
    const reader = new ByteReader();
    const onData = (chunk: Buffer) => reader.push(chunk);
    socket.on('data', onData).on('error', (error) => reader.fail(error));
    await negotiate(socket, reader, 'disk0', false);
    socket.off('data', onData).resume();
    return new Flood(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    const request = requestBytes(CMD_READ, 0, 1, 0, 1);
    const requests = Buffer.concat(Array.from({ length: REQUESTS_AT_ONCE }, () => request));
    const pour = (): void => {
      while (!this.#isOver && !socket.destroyed && socket.write(requests));
    };
    socket.on('drain', pour);
    pour();
  }

  /** Sends nothing more. */
  stop(): void {
    this.#isOver = true;
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
