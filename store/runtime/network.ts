/**
 * The network as an argument: streams of bytes between processes.
 *
 * Owns the interface; `real-network.ts` implements it with sockets, the tests with one that
 * delays, cuts and stalls.
 */

export interface NetworkAddress {
  readonly host: string;
  readonly port: number;
}

export interface StreamEvents {
  /** `chunk` is only valid during the call: its bytes are overwritten afterwards. */
  onData(chunk: Buffer): void;
  /** What was written before is on its way, and `write` may go on. */
  onDrain(): void;
  /** The last event: the peer closed, the stream broke (`error` says why), or `destroy` was called. */
  onClose(error: Error | undefined): void;
}

export interface NetworkStream {
  /**
   * Sends the buffers with one system call where that is possible; they must not change until they
   * are sent (`onSent`). False when the caller should wait for `onDrain` before it writes more.
   */
  write(buffers: readonly Buffer[], onSent?: () => void): boolean;
  /** Stops `onData` until `resume`; back-pressure for the peer. */
  pause(): void;
  resume(): void;
  /** Closes at once; nothing more is sent. */
  destroy(): void;
  /** For logs: the peer's address. */
  readonly peerName: string;
}

export interface NetworkServer {
  readonly address: NetworkAddress;
  close(): Promise<void>;
}

export interface Network {
  /** The stream is ready when the promise resolves; rejects with the operating system's error. */
  connect(
    address: NetworkAddress,
    timeoutMs: number,
    events: (stream: NetworkStream) => StreamEvents,
  ): Promise<NetworkStream>;
  /** Port 0 chooses a free one. */
  listen(
    address: NetworkAddress,
    accept: (stream: NetworkStream) => StreamEvents,
  ): Promise<NetworkServer>;
}
