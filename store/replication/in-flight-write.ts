/**
 * One write on its way to the replicas.
 *
 * Owns: who was asked, who answered what. Does not own: what follows from it; the writer decides.
 * The callbacks are made once and the object is used again for later writes, because a write of
 * 4 KiB costs little more than its checksum. It is used again only after a plain life (everybody
 * asked has answered well), so that no late answer can be taken for that of another write.
 */
import type { WriteRequest } from '../engine/store-node.ts';

export interface WriteAnswers {
  onWriteOk(write: InFlightWrite, replicaIndex: number): void;
  onWriteError(write: InFlightWrite, replicaIndex: number, error: unknown): void;
}

export class InFlightWrite {
  objectIndex = 0;
  request!: WriteRequest;
  startedMs = 0;
  /** When it was sent last; later than the start if a replica returned meanwhile. */
  sentMs = 0;
  /** Replicas whose answer the write waits for; those that were dropped are not in it. */
  waitMask = 0;
  /** Replicas that have it durable. */
  okMask = 0;
  /** Replicas that refused it, and so have nothing of it. */
  refusedMask = 0;
  /** Replicas whose refusal leaves open whether they have it. */
  unknownMask = 0;
  refusal: unknown;
  /** Every live replica has it. Acknowledged at once, or held until acknowledging is allowed. */
  isApplied = false;
  isPlain = true;
  resolve!: () => void;
  reject!: (error: unknown) => void;
  /** Called once, when the write is applied or over. */
  onQuiet: (() => void)[] | undefined;
  readonly executor: (resolve: () => void, reject: (error: unknown) => void) => void;
  readonly onOk: readonly (() => void)[];
  readonly onError: readonly ((error: unknown) => void)[];

  constructor(answers: WriteAnswers, replicaCount: number) {
    this.executor = (resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    };
    const indexes = Array.from({ length: replicaCount }, (_, index) => index);
    this.onOk = indexes.map((index) => () => answers.onWriteOk(this, index));
    this.onError = indexes.map(
      (index) => (error: unknown) => answers.onWriteError(this, index, error),
    );
  }

  reset(objectIndex: number, request: WriteRequest, startedMs: number): void {
    this.objectIndex = objectIndex;
    this.request = request;
    this.startedMs = startedMs;
    this.sentMs = startedMs;
    this.waitMask = 0;
    this.okMask = 0;
    this.refusedMask = 0;
    this.unknownMask = 0;
    this.refusal = undefined;
    this.isApplied = false;
    this.isPlain = true;
  }

  tellQuiet(): void {
    const waiting = this.onQuiet;
    if (waiting === undefined) return;
    this.onQuiet = undefined;
    for (const tell of waiting) tell();
  }
}
