/**
 * How far the log of each data directory of the cluster has come, so that an old copy of one that is
 * put back is known for what it is.
 *
 * Owns: the records `directories/ID`, and the judgement. Does not own: what becomes of a directory
 * that is old (the engine gives it a new id, so it is in sync for no volume until it was compared).
 *
 * The argument: the log of a directory only grows, and each opening adds a batch to it. The record
 * says a length that was durable. It is written after that batch and before the node serves anybody,
 * and every few seconds and at a clean end after that. So a directory whose log is shorter lost
 * something: its end, or all since a copy was made. A copy made while the node was stopped is always
 * found out, because the node has been opened since, whatever it wrote; one made of a running
 * node is found out unless it is younger than the last record before the node ended, a few seconds.
 * So attach and resync may rely on a directory's id, and need to know nothing of this.
 */
import { z } from 'zod';
import { DroverError } from '../runtime/drover-error.ts';
import type { ControlPlane, ControlPut } from './control-plane.ts';

export interface KnownDirectory {
  readonly directoryId: string;
  /** The number of the next batch of its log: all before it are durable. */
  readonly batchSeq: number;
}

const directoryRecordSchema = z.object({ batchSeq: z.int().min(0) });

export function directoryKey(directoryId: string): string {
  return `directories/${directoryId}`;
}

/** For the transaction of a node that tells other things too. */
export function directoryPut({ directoryId, batchSeq }: KnownDirectory): ControlPut {
  return { key: directoryKey(directoryId), value: { batchSeq } };
}

export class DirectoryHistory {
  readonly #control: Pick<ControlPlane, 'get' | 'commit'>;
  /** The length told last, of the directories that are opened here. */
  readonly #told = new Map<string, number>();

  constructor(control: Pick<ControlPlane, 'get' | 'commit'>) {
    this.#control = control;
  }

  /** Errors: `corrupt`, `unavailable`. */
  async judge(found: KnownDirectory): Promise<'whole' | 'old'> {
    const record = await this.#control.get(directoryKey(found.directoryId));
    if (record === undefined) return 'whole';
    const parsed = directoryRecordSchema.safeParse(record.value);
    if (!parsed.success)
      throw new DroverError('corrupt', `control record ${record.key} is malformed`);
    return found.batchSeq < parsed.data.batchSeq ? 'old' : 'whole';
  }

  /** Tells how far the log is, unless that is known. Error: `unavailable`. */
  async note(directory: KnownDirectory): Promise<void> {
    const { directoryId, batchSeq } = directory;
    if (this.#told.get(directoryId) === batchSeq) return;
    await this.#control.commit({ expect: [], put: [directoryPut(directory)] });
    this.#told.set(directoryId, batchSeq);
  }
}
