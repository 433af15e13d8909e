/**
 * What the log says happened: one record for each change of an object, an epoch or a layer.
 *
 * Owns: the types of records and their rules. Does not own: their bytes (batch-encoder.ts,
 * batch-decoder.ts) nor their effect (apply-record.ts). The same shape is encoded from a request,
 * decoded by replay and by cleaning, and applied in both cases by the same code.
 */
import type { Extent } from './store-node.ts';

export const RecordType = {
  /** Changes the extents of an object from exactly the base version to the target. */
  write: 1,
  /** Replaces an object, whatever it was, by the extents. */
  install: 2,
  /** The object is as if it was never written. */
  removeObject: 3,
  /** Replaces data blocks without a change of version. */
  repair: 4,
  /** Cleaning: the data blocks moved here, those of them that still were at their source. */
  relocate: 5,
  adoptEpoch: 6,
  removeLayer: 7,
} as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export function isRecordType(value: number): value is RecordType {
  return value >= RecordType.write && value <= RecordType.removeLayer;
}

/** Where an extent's first block was; the others follow it. */
export interface BlockSource {
  readonly segmentId: number;
  readonly position: number;
}

export const NO_SOURCES: readonly BlockSource[] = [];
export const NO_EXTENTS: readonly Extent[] = [];
export const NO_CRCS = new Uint32Array(0);

export interface LogRecord {
  readonly type: RecordType;
  /** 0 in a `relocate` and a `removeLayer`, which check no epoch. */
  readonly volumeId: number;
  readonly epoch: number;
  readonly layerId: number;
  readonly objectIndex: number;
  readonly baseEpoch: number;
  readonly baseSeq: number;
  readonly targetEpoch: number;
  readonly targetSeq: number;
  readonly extents: readonly Extent[];
  /** One for each extent of a `relocate`; otherwise empty. */
  readonly sources: readonly BlockSource[];
  /** One for each data block, in the order of the extents; its payload follows the batch's header. */
  readonly blockCrcs: Uint32Array;
}
