/**
 * The volume API's messages, as both its server and the command line see them.
 *
 * Owns their shapes. Sizes are in bytes.
 */
import { z } from 'zod';
import {
  objectSizeSchema,
  volumeNameSchema,
  volumeSizeSchema,
} from '../../store/control/volume-record.ts';

export const VOLUMES_PATH = '/v1/volumes';

export const createBodySchema = z.strictObject({
  name: volumeNameSchema,
  sizeBytes: volumeSizeSchema,
  objectBytes: objectSizeSchema.optional(),
  isReadOnly: z.boolean().optional(),
});

/** One change at a time: each is made whole or not at all. */
export const changeBodySchema = z
  .strictObject({ sizeBytes: volumeSizeSchema.optional(), isReadOnly: z.boolean().optional() })
  .refine(
    ({ sizeBytes, isReadOnly }) => (sizeBytes === undefined) !== (isReadOnly === undefined),
    'either sizeBytes or isReadOnly',
  );

export const removeQuerySchema = z.strictObject({
  force: z.enum(['true', 'false']).optional(),
});

export const volumeStatusSchema = z.object({
  id: z.int(),
  name: z.string(),
  sizeBytes: z.int(),
  objectBytes: z.int(),
  isReadOnly: z.boolean(),
  /** Whether this process holds the volume's lease and has it in its cache. */
  isAttached: z.boolean(),
  clientCount: z.int(),
  dirtyBytes: z.int(),
});

export const volumeListSchema = z.object({ volumes: z.array(volumeStatusSchema) });

export type CreateBody = z.infer<typeof createBodySchema>;
export type VolumeStatus = z.infer<typeof volumeStatusSchema>;

/** What the API asks of the volumes; the registry does it. Errors are DroverErrors. */
export interface VolumeAdministration {
  list(): readonly VolumeStatus[] | Promise<readonly VolumeStatus[]>;
  show(name: string): VolumeStatus | Promise<VolumeStatus>;
  create(request: CreateBody): Promise<VolumeStatus>;
  resize(name: string, sizeBytes: number): Promise<VolumeStatus>;
  setReadOnly(name: string, isReadOnly: boolean): Promise<VolumeStatus>;
  remove(name: string, options: { readonly force: boolean }): Promise<void>;
}
