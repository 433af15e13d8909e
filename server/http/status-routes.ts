/**
 * `/v1/status`, `/v1/nodes` and the comparison of a volume's copies.
 */
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { VerifyProgress } from '../../store/replication/verify.ts';
import { pause } from '../../store/runtime/clock.ts';
import { DroverError } from '../../store/runtime/drover-error.ts';
import { judged } from './judged.ts';
import {
  type ClusterStatusSource,
  NODES_PATH,
  STATUS_PATH,
  verifyBodySchema,
} from './status-api.ts';
import { VERIFY_CONTENT_TYPE, verifyLines } from './verify-stream.ts';
import { VOLUMES_PATH } from './volume-api.ts';

/** Longer than another holder of the volume is waited for. */
const BEGIN_MS_MAX = 10_000;

export function addStatusRoutes(app: FastifyInstance, source: () => ClusterStatusSource): void {
  app.get(STATUS_PATH, async () => source().status());

  app.get(NODES_PATH, async () => ({ nodes: source().nodes() }));

  app.post<{ readonly Params: { readonly name: string } }>(
    `${VOLUMES_PATH}/:name/verify`,
    async (request, reply) => {
      const { isDeep } = judged(verifyBodySchema, request.body);
      const listener = new AbortController();
      reply.raw.once('close', () => {
        listener.abort(new DroverError('unavailable', 'nobody waits for the comparison any more'));
      });
      let progress: VerifyProgress | null = null;
      const begun = Promise.withResolvers<void>();
      const verifying = source().verify(request.params.name, {
        isDeep: isDeep === true,
        signal: listener.signal,
        onProgress: (now) => {
          progress = now;
          begun.resolve();
        },
      });
      // What fails before it begins has a status of its own, unless that takes too long.
      await Promise.race([verifying, begun.promise, pause(BEGIN_MS_MAX)]);
      const lines = Readable.from(verifyLines(verifying, () => progress));
      return reply.type(VERIFY_CONTENT_TYPE).send(lines);
    },
  );
}
