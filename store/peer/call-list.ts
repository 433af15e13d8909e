/**
 * The calls of one client that were not answered, in the order in which they were made.
 *
 * Owns: that order, which of them were sent on the present connection, and their request ids.
 * Does not own: sending, or what an answer means.
 * Invariants: calls sent are a front part of the list, so a call never overtakes an earlier one,
 * on the first connection or on a later one; a request id belongs to one sent call.
 *
 * A request id is the index of a slot, and above it a count that changes with each use of the slot:
 * an answer is found without a search, and one that comes twice is noticed.
 */
import assert from 'node:assert';
import type { ReadRequest, WriteRequest } from '../engine/store-node.ts';
import type { AnyOperation, Message } from './cold-messages.ts';
import type { OperationStats } from './peer-stats.ts';

export type CallBody =
  | { readonly name: 'write'; readonly request: WriteRequest }
  | { readonly name: 'read'; readonly request: ReadRequest; readonly into: readonly Buffer[] }
  | {
      readonly name: 'cold';
      readonly operation: AnyOperation;
      readonly request: unknown;
      readonly message: Message;
    };

export class Call {
  readonly body: CallBody;
  /** Payload sent and asked for. */
  readonly heldBytes: number;
  readonly stats: OperationStats;
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
  readonly madeMs: number;
  /** When it was sent on the present connection. */
  sentMs = 0;
  requestId = 0;
  previous: Call | undefined;
  next: Call | undefined;

  constructor(
    body: CallBody,
    heldBytes: number,
    stats: OperationStats,
    resolve: (answer: never) => void,
    reject: (error: Error) => void,
    madeMs: number,
  ) {
    this.body = body;
    this.heldBytes = heldBytes;
    this.stats = stats;
    this.resolve = resolve;
    this.reject = reject;
    this.madeMs = madeMs;
  }
}

const SLOT_BITS = 13;
const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Request ids stay below 2^30. */
const USE_MASK = (1 << (30 - SLOT_BITS)) - 1;

/** More than this cannot be sent at once, whatever the limits say. */
export const SLOTS_MAX = 1 << SLOT_BITS;

export class CallList {
  #first: Call | undefined;
  #last: Call | undefined;
  /** The first call that was not sent; all behind it were not either. */
  #unsent: Call | undefined;
  readonly #slots: (Call | undefined)[] = new Array(SLOTS_MAX).fill(undefined);
  readonly #slotUses = new Uint32Array(SLOTS_MAX);
  readonly #freeSlots = new Uint16Array(SLOTS_MAX);
  #freeSlotCount = SLOTS_MAX;
  sentCount = 0;
  sentBytes = 0;
  waitingCount = 0;

  constructor() {
    for (let i = 0; i < SLOTS_MAX; i += 1) this.#freeSlots[i] = SLOTS_MAX - 1 - i;
  }

  get oldest(): Call | undefined {
    return this.#first;
  }

  /** Hot path. The call to be sent next. */
  get unsent(): Call | undefined {
    return this.#unsent;
  }

  /** Hot path. */
  add(call: Call): void {
    call.previous = this.#last;
    if (this.#last === undefined) this.#first = call;
    else this.#last.next = call;
    this.#last = call;
    this.#unsent ??= call;
    this.waitingCount += 1;
  }

  /** Hot path. `call` is `unsent`: gives it a request id. */
  markSent(call: Call): void {
    assert(call === this.#unsent && this.#freeSlotCount > 0);
    this.#freeSlotCount -= 1;
    const slot = this.#freeSlots[this.#freeSlotCount]!;
    const use = (this.#slotUses[slot]! + 1) & USE_MASK;
    this.#slotUses[slot] = use;
    this.#slots[slot] = call;
    call.requestId = (use << SLOT_BITS) | slot;
    this.#unsent = call.next;
    this.waitingCount -= 1;
    this.sentCount += 1;
    this.sentBytes += call.heldBytes;
  }

  /** Hot path. The call that was sent with this request id and is not answered. */
  find(requestId: number): Call | undefined {
    const call = this.#slots[requestId & SLOT_MASK];
    return call !== undefined && call.requestId === requestId ? call : undefined;
  }

  /** Hot path. A sent call was answered. */
  remove(call: Call): void {
    this.#freeSlot(call);
    if (call.previous === undefined) this.#first = call.next;
    else call.previous.next = call.next;
    if (call.next === undefined) this.#last = call.previous;
    else call.next.previous = call.previous;
    this.sentCount -= 1;
    this.sentBytes -= call.heldBytes;
  }

  #freeSlot(call: Call): void {
    const slot = call.requestId & SLOT_MASK;
    assert(this.#slots[slot] === call);
    this.#slots[slot] = undefined;
    this.#freeSlots[this.#freeSlotCount] = slot;
    this.#freeSlotCount += 1;
  }

  /** The connection is gone: all calls are to be sent again, in their order. */
  unsendAll(): void {
    for (let call = this.#first; call !== this.#unsent; call = call!.next) this.#freeSlot(call!);
    this.#unsent = this.#first;
    this.waitingCount += this.sentCount;
    this.sentCount = 0;
    this.sentBytes = 0;
  }

  /** Takes all calls out, in their order. None of them may be under way any more. */
  takeAll(): Call[] {
    this.unsendAll();
    const calls: Call[] = [];
    for (let call = this.#first; call !== undefined; call = call.next) calls.push(call);
    this.#first = undefined;
    this.#last = undefined;
    this.#unsent = undefined;
    this.waitingCount = 0;
    return calls;
  }
}
