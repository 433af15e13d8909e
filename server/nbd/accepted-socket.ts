/**
 * An accepted socket that receives into buffers of our choice.
 *
 * Owns: moving the operating system's socket from the object that `net.Server` made for it.
 * Only a `net.Socket` made with `onread` reads into given buffers, and a server makes its own
 * without; so the handle, from which nothing was read yet (`pauseOnConnect`), moves to a new one.
 * Measured: 128 KiB writes from 1.1 to 2.1 GB/s.
 */
import net from 'node:net';

export interface SocketInput {
  /** The place for the next bytes; asked for at the start and after each `received`. */
  target(): Buffer;
  /** So many bytes are there; false stops reading until `resume`. */
  received(byteCount: number): boolean;
}

/** A detail of `node:net`, which its types do not name. */
interface HandleOwner {
  _handle: unknown;
}

/** `accepted` is useless afterwards. Reading starts with `resume`. */
export function moveToOwnBuffers(accepted: net.Socket, input: SocketInput): net.Socket {
  const owner = accepted as unknown as HandleOwner;
  const handle = owner._handle;
  owner._handle = null;
  // Without a handle this closes nothing; the server counts the object as gone.
  accepted.destroy();
  const options = {
    handle,
    // A client may stop sending and still wait for its last replies.
    allowHalfOpen: true,
    onread: {
      buffer: () => input.target(),
      callback: (byteCount: number) => input.received(byteCount),
    },
  } as net.SocketConstructorOpts;
  const socket = new net.Socket(options);
  socket.setNoDelay(true);
  // A client whose machine is gone sends nothing that could tell so.
  socket.setKeepAlive(true, 60_000);
  return socket;
}
