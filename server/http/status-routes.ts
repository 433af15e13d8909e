/**
 * `/v1/status`, `/v1/nodes` and the comparison of a volume's copies.
 */
import type { FastifyInstance } from 'fastify';
import { judged } from './judged.ts';
import {
  type ClusterStatusSource,
  NODES_PATH,
  STATUS_PATH,
  verifyBodySchema,
} from './status-api.ts';
import { VOLUMES_PATH } from './volume-api.ts';

export function addStatusRoutes(app: FastifyInstance, source: () => ClusterStatusSource): void {
  app.get(STATUS_PATH, async () => source().status());

  app.get(NODES_PATH, async () => ({ nodes: source().nodes() }));

  app.post<{ readonly Params: { readonly name: string } }>(
    `${VOLUMES_PATH}/:name/verify`,
    async (request) => {
      const { isDeep } = judged(verifyBodySchema, request.body);
      return source().verify(request.params.name, { isDeep: isDeep === true });
    },
  );
}
