/**
 * Calls to an etcd cluster: endpoints, deadlines, errors.
 *
 * Owns: the connections, and which endpoint is asked. Does not own what the messages mean.
 * Invariants: every call settles within its limit, with the answer or a DroverError. A request is
 * sent once: over a connection that was ready, and never again by itself.
 */
import {
  Client,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import type { Clock } from '../runtime/clock.ts';
import { DroverError } from '../runtime/drover-error.ts';
import {
  ETCD_ANSWER_BYTES_MAX,
  ETCD_CALL_TIMEOUT_MS,
  ETCD_KEEPALIVE_MS,
  ETCD_KEEPALIVE_TIMEOUT_MS,
  ETCD_RECONNECT_MS_MAX,
  ETCD_RECONNECT_MS_MIN,
} from './limits.ts';

const CHANNEL_OPTIONS = {
  'grpc.keepalive_time_ms': ETCD_KEEPALIVE_MS,
  'grpc.keepalive_timeout_ms': ETCD_KEEPALIVE_TIMEOUT_MS,
  'grpc.initial_reconnect_backoff_ms': ETCD_RECONNECT_MS_MIN,
  'grpc.max_reconnect_backoff_ms': ETCD_RECONNECT_MS_MAX,
  'grpc.max_receive_message_length': ETCD_ANSWER_BYTES_MAX,
  // Without this, clients of one process share a connection, and one's trouble is the other's.
  'grpc.use_local_subchannel_pool': 1,
};

interface Endpoint {
  /** `HOST:PORT`. */
  readonly address: string;
  readonly client: Client;
}

export class EtcdClient {
  readonly #endpoints: readonly Endpoint[];
  readonly #clock: Clock;
  /** The endpoint asked first. */
  #preferred = 0;
  #isClosed = false;

  /** `addresses`: `HOST:PORT` each, at least one. */
  constructor(addresses: readonly string[], clock: Clock) {
    this.#endpoints = addresses.map((address) => ({
      address,
      client: new Client(address, credentials.createInsecure(), CHANNEL_OPTIONS),
    }));
    this.#clock = clock;
  }

  /**
   * Errors: `unavailable` (the request may have had its effect), or what etcd's own code means:
   * `notFound`.
   */
  async call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    limitMs = ETCD_CALL_TIMEOUT_MS,
  ): Promise<Response> {
    const endMs = this.#clock.nowMs() + limitMs;
    const endpoint = await this.#readyEndpoint(endMs);
    const deadline = this.#deadlineAt(endMs);
    return new Promise((resolve, reject) => {
      endpoint.client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        { deadline },
        (error, response) => {
          if (error === null) resolve(response as Response);
          else reject(this.failure(endpoint.address, error));
        },
      );
    });
  }

  /** Sends one request on a stream of its own, and resolves to the first answer. As `call`. */
  async callOnStream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    limitMs = ETCD_CALL_TIMEOUT_MS,
  ): Promise<Response> {
    const endMs = this.#clock.nowMs() + limitMs;
    const { address, stream } = await this.openStream(method, endMs, this.#deadlineAt(endMs));
    return new Promise((resolve, reject) => {
      let isAnswered = false;
      stream.on('data', (response: Response) => {
        isAnswered = true;
        resolve(response);
        stream.cancel();
      });
      stream.on('error', (error: ServiceError) => {
        if (!isAnswered) reject(this.failure(address, error));
      });
      stream.on('end', () =>
        reject(new DroverError('unavailable', `etcd at ${address} ended the stream`)),
      );
      stream.write(request);
    });
  }

  /** A stream that lasts, on an endpoint that is ready before `readyByMs`. Error: `unavailable`. */
  async openStream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    readyByMs: number,
    deadline: Date | number = Number.POSITIVE_INFINITY,
  ): Promise<{ address: string; stream: ClientDuplexStream<Request, Response> }> {
    const { address, client } = await this.#readyEndpoint(readyByMs);
    const metadata = new Metadata();
    // A member that has lost its cluster ends the stream instead of staying silent.
    metadata.set('hasleader', 'true');
    const stream = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      metadata,
      { deadline },
    );
    return { address, stream };
  }

  /** What an error of a call or stream means; the next call prefers another endpoint. */
  failure(address: string, error: ServiceError): DroverError {
    if (error.code === status.NOT_FOUND) {
      return new DroverError('notFound', `etcd at ${address}: ${error.details}`, error);
    }
    if (this.#endpoints[this.#preferred]?.address === address) {
      this.#preferred = (this.#preferred + 1) % this.#endpoints.length;
    }
    return new DroverError('unavailable', `etcd at ${address} cannot be asked`, error);
  }

  async #readyEndpoint(endMs: number): Promise<Endpoint> {
    this.checkOpen();
    const inOrder = this.#endpoints.map(
      (_, at) => this.#endpoints[(this.#preferred + at) % this.#endpoints.length]!,
    );
    const connected = inOrder.find(
      ({ client }) => client.getChannel().getConnectivityState(true) === connectivityState.READY,
    );
    if (connected !== undefined) return connected;
    const attempts = inOrder.map(async (endpoint) => {
      await this.#ready(endpoint, endMs);
      return endpoint;
    });
    try {
      const first = await Promise.any(attempts);
      this.checkOpen();
      return first;
    } catch (error) {
      this.checkOpen();
      const addresses = this.#endpoints.map((endpoint) => endpoint.address).join(', ');
      const cause = error instanceof AggregateError ? error.errors[0] : error;
      throw new DroverError('unavailable', `etcd cannot be reached at ${addresses}`, cause);
    }
  }

  #ready(endpoint: Endpoint, endMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      endpoint.client.waitForReady(this.#deadlineAt(endMs), (error) => {
        if (error === undefined || error === null) resolve();
        else reject(error);
      });
    });
  }

  /** gRPC takes its deadlines in wall-clock time, and turns them into timers at once. */
  #deadlineAt(endMs: number): number {
    return this.#clock.wallMs() + Math.max(0, endMs - this.#clock.nowMs());
  }

  checkOpen(): void {
    if (this.#isClosed) throw new DroverError('unavailable', 'the control plane is closed');
  }

  close(): void {
    this.#isClosed = true;
    for (const { client } of this.#endpoints) client.close();
  }
}
