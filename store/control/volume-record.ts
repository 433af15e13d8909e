/**
 * The record of a volume in the control plane, and its keys.
 *
 * Owns the record's shape and validation. Every change is a compare-and-swap on the record.
 */
import { z } from 'zod';
import { isObjectBytes, VOLUME_BYTES_MAX } from '../geometry.ts';
import { replicaSetSchema } from './replica-set-record.ts';

/** Names travel in NBD exports, URLs and metric labels. */
export const volumeNameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    'a letter or digit, then up to 127 letters, digits, dots, dashes or underscores',
  );

export const volumeSizeSchema = z
  .int(`a whole number of bytes from 1 to ${VOLUME_BYTES_MAX}`)
  .min(1, `a size from 1 to ${VOLUME_BYTES_MAX} bytes`)
  .max(VOLUME_BYTES_MAX, `a size from 1 to ${VOLUME_BYTES_MAX} bytes`);

export const objectSizeSchema = z
  .int('a power of two from 64 KiB to 16 MiB')
  .refine(isObjectBytes, 'a power of two from 64 KiB to 16 MiB');

export const volumeRecordSchema = z.object({
  /** Never used again after the volume is deleted. */
  id: z.int().min(1),
  name: volumeNameSchema,
  sizeBytes: volumeSizeSchema,
  objectBytes: objectSizeSchema,
  layerId: z.int().min(1),
  /** The epoch of the newest lease; grows by one with each attach. */
  epoch: z.int().min(0),
  isReadOnly: z.boolean(),
  /** Where its copies are; a volume without it is on the only node there is. */
  replicas: replicaSetSchema.optional(),
});

export type VolumeRecord = z.infer<typeof volumeRecordSchema>;

export const VOLUMES_PREFIX = 'volumes/';
/** The next volume id; a record of its own, so that ids outlive their volumes. */
export const NEXT_VOLUME_ID_KEY = 'next-volume-id';
export const nextVolumeIdSchema = z.int().min(1);

export function volumeKey(name: string): string {
  return `${VOLUMES_PREFIX}${name}`;
}
