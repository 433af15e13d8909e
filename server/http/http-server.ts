/**
 * The HTTP server: health, metrics, and the volume and status API where there are volumes.
 *
 * Owns the listening socket, its limits, and what is answered while the process starts and stops.
 * Does not own what is told: health, metrics and volumes come as arguments.
 */
import assert, { AssertionError } from 'node:assert';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import { DroverError } from '../../store/runtime/drover-error.ts';
import { errorAnswer } from './error-answers.ts';
import {
  HTTP_BODY_BYTES_MAX,
  HTTP_CONNECTIONS_MAX,
  HTTP_KEEP_ALIVE_MS,
  HTTP_REQUEST_MS_MAX,
} from './limits.ts';
import type { ClusterStatusSource } from './status-api.ts';
import { addStatusRoutes } from './status-routes.ts';
import type { VolumeAdministration } from './volume-api.ts';
import { addVolumeRoutes } from './volume-routes.ts';

export interface Health {
  /** Why the process cannot do its work any more; `undefined` while it can. */
  failure(): string | undefined;
  /** Why clients should not come now (starting, stopping); `undefined` when they may. */
  notReady(): string | undefined;
}

export interface HttpLog {
  error(fields: object, message: string): void;
}

export interface HttpServerOptions {
  readonly health: Health;
  readonly metrics: Registry;
  /** Asked only while nothing speaks against being ready; a store node has none. */
  readonly volumes?: () => VolumeAdministration;
  readonly status?: () => ClusterStatusSource;
  readonly log: HttpLog;
}

function addHealthRoutes(app: FastifyInstance, health: Health): void {
  app.get('/healthz', async (_request, reply) => {
    const reason = health.failure();
    return reply
      .code(reason === undefined ? 200 : 503)
      .send(reason === undefined ? { status: 'ok' } : { status: 'failed', reason });
  });
  app.get('/readyz', async (_request, reply) => {
    const reason = health.failure() ?? health.notReady();
    return reply
      .code(reason === undefined ? 200 : 503)
      .send(reason === undefined ? { status: 'ready' } : { status: 'not ready', reason });
  });
}

function addErrorAnswers(app: FastifyInstance, log: HttpLog): void {
  app.setErrorHandler((error, request, reply) => {
    const { status, body } = errorAnswer(error);
    if (body.error.kind === 'internal') {
      log.error({ err: error, method: request.method, url: request.url }, 'HTTP request failed');
    }
    reply.code(status).send(body);
    // A broken assumption is a bug: the process must not go on as if it held.
    if (error instanceof AssertionError) {
      queueMicrotask(() => {
        throw error;
      });
    }
  });
  app.setNotFoundHandler((request, reply) => {
    const message = `no such resource: ${request.method} ${request.url}`;
    reply.code(404).send({ error: { kind: 'notFound', message } });
  });
}

const API_PREFIX = '/v1/';

export class HttpServer {
  readonly #app: FastifyInstance;

  constructor({ health, metrics, volumes, status, log }: HttpServerOptions) {
    const app = Fastify({
      bodyLimit: HTTP_BODY_BYTES_MAX,
      requestTimeout: HTTP_REQUEST_MS_MAX,
      keepAliveTimeout: HTTP_KEEP_ALIVE_MS,
      // Names of volumes have 128 characters, and each may come percent-encoded.
      routerOptions: { maxParamLength: 3 * 128 },
      forceCloseConnections: true,
    });
    app.server.maxConnections = HTTP_CONNECTIONS_MAX;
    addErrorAnswers(app, log);
    addHealthRoutes(app, health);
    app.get('/metrics', async (_request, reply) =>
      reply.header('content-type', metrics.contentType).send(await metrics.metrics()),
    );
    app.addHook('onRequest', async (request) => {
      const reason = health.notReady();
      if (reason !== undefined && request.url.startsWith(API_PREFIX)) {
        throw new DroverError('unavailable', reason);
      }
    });
    if (volumes !== undefined) addVolumeRoutes(app, volumes);
    if (status !== undefined) addStatusRoutes(app, status);
    this.#app = app;
  }

  /** Resolves to the address in use, with the port that the kernel chose for port 0. */
  async listen(address: { readonly host: string; readonly port: number }) {
    await this.#app.listen({ host: address.host, port: address.port });
    const bound = this.#app.addresses()[0];
    assert(typeof bound === 'object', 'a TCP listener has an address and a port');
    return { host: bound.address, port: bound.port };
  }

  async close(): Promise<void> {
    await this.#app.close();
  }
}
