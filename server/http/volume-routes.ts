/**
 * `/v1/volumes`: requests judged by their schemas, done by the registry, answered as JSON.
 */
import type { FastifyInstance } from 'fastify';
import { judged } from './judged.ts';
import {
  changeBodySchema,
  createBodySchema,
  removeQuerySchema,
  VOLUMES_PATH,
  type VolumeAdministration,
} from './volume-api.ts';

interface NameParameter {
  readonly Params: { readonly name: string };
}

export function addVolumeRoutes(app: FastifyInstance, volumes: () => VolumeAdministration): void {
  const one = `${VOLUMES_PATH}/:name`;

  app.get(VOLUMES_PATH, async () => ({ volumes: await volumes().list() }));

  app.post(VOLUMES_PATH, async (request, reply) => {
    const created = await volumes().create(judged(createBodySchema, request.body));
    return reply.code(201).send(created);
  });

  app.get<NameParameter>(one, async (request) => volumes().show(request.params.name));

  app.patch<NameParameter>(one, async (request) => {
    const { sizeBytes, isReadOnly } = judged(changeBodySchema, request.body);
    const { name } = request.params;
    if (sizeBytes !== undefined) return volumes().resize(name, sizeBytes);
    return volumes().setReadOnly(name, isReadOnly === true);
  });

  app.delete<NameParameter>(one, async (request, reply) => {
    const { force } = judged(removeQuerySchema, request.query);
    await volumes().remove(request.params.name, { force: force === 'true' });
    return reply.code(204).send();
  });
}
