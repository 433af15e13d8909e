/**
 * What a durable record does to the index; the same when it was just written and in replay.
 *
 * Owns: the effect of each type of record. Does not own: whether it was allowed (write-admission.ts
 * asked before it was queued).
 * Invariants: records are applied in the order of the log, whole batches at a time within one turn
 * of the event loop, and only when durable, so that no checkpoint points at bytes that are not on
 * disk. `lsn` of an entry is that of its last record; replay applies a record only if its lsn is
 * higher, so applying a stretch of the log again changes nothing.
 */

import { BATCH_RECORDS_LIMIT } from './limits.ts';
import type { LogRecord } from './log-record.ts';
import { RecordType } from './log-record.ts';
import { isStored, type ObjectEntry, SEGMENT_HOLE, SEGMENT_ZERO } from './object-entry.ts';
import type { ObjectIndex } from './object-index.ts';
import { BlockKind } from './store-node.ts';
import type { VolumeEpochs } from './volume-epochs.ts';

export interface EngineState {
  readonly index: ObjectIndex;
  readonly epochs: VolumeEpochs;
}

export function lsnOf(batchSeq: number, recordIndex: number): number {
  return batchSeq * BATCH_RECORDS_LIMIT + recordIndex;
}

/**
 * Hot path. `entry` is the pinned entry of the record's object, `undefined` for a record without
 * one; the payload starts at block `position` of the segment.
 */
export function applyRecord(
  state: EngineState,
  record: LogRecord,
  entry: ObjectEntry | undefined,
  segmentId: number,
  position: number,
  lsn: number,
): void {
  if (record.epoch > 0) state.epochs.becameDurable(record.volumeId, record.epoch);
  const { index } = state;
  if (record.type === RecordType.removeLayer) {
    index.removeLayer(record.layerId, lsn);
    return;
  }
  // A layer may be removed while a write of it is on its way; what is removed stays removed.
  if (entry === undefined || index.removedLayers.has(record.layerId)) return;
  index.repin(entry);
  entry.lsn = lsn;
  switch (record.type) {
    case RecordType.write:
      applyExtents(index, entry, record, segmentId, position);
      index.setVersion(entry, record.targetEpoch, record.targetSeq);
      return;
    case RecordType.install:
      index.clearBlocks(entry);
      applyExtents(index, entry, record, segmentId, position);
      index.setVersion(entry, record.targetEpoch, record.targetSeq);
      return;
    case RecordType.removeObject:
      index.clearBlocks(entry);
      index.setVersion(entry, 0, 0);
      return;
    case RecordType.repair:
      applyExtents(index, entry, record, segmentId, position);
      return;
    case RecordType.relocate:
      applyRelocation(index, entry, record, segmentId, position);
      return;
  }
}

/** Hot path. */
function applyExtents(
  index: ObjectIndex,
  entry: ObjectEntry,
  record: LogRecord,
  segmentId: number,
  firstPosition: number,
): void {
  const { live } = index;
  const { blockCrcs } = record;
  let dataBlock = 0;
  for (const extent of record.extents) {
    const { startBlock, kind } = extent;
    const end = startBlock + extent.blockCount;
    for (let block = startBlock; block < end; block += entry.uniformBlocks(block)) {
      const old = entry.segmentAt(block);
      if (isStored(old)) live.add(old, -1);
    }
    if (kind !== BlockKind.data) {
      index.mark(entry, startBlock, end, kind === BlockKind.zero ? SEGMENT_ZERO : SEGMENT_HOLE);
      continue;
    }
    index.reach(entry, startBlock, end);
    for (let block = startBlock; block < end; block += 1) {
      entry.put(block, segmentId, firstPosition + dataBlock, blockCrcs[dataBlock]!);
      dataBlock += 1;
    }
  }
  if (dataBlock > 0) live.add(segmentId, dataBlock);
}

/** A block overwritten since cleaning read it no longer lies at its source, and is left alone. */
function applyRelocation(
  index: ObjectIndex,
  entry: ObjectEntry,
  record: LogRecord,
  segmentId: number,
  firstPosition: number,
): void {
  let position = firstPosition;
  for (let i = 0; i < record.extents.length; i += 1) {
    const extent = record.extents[i]!;
    const from = record.sources[i]!;
    for (let offset = 0; offset < extent.blockCount; offset += 1, position += 1) {
      const block = extent.startBlock + offset;
      if (!entry.isAt(block, from.segmentId, from.position + offset)) continue;
      index.live.add(from.segmentId, -1);
      entry.put(block, segmentId, position, entry.crcAt(block));
      index.live.add(segmentId, 1);
    }
  }
}
