/**
 * Requests that need a promise: misses, flushes, everything that is not a resident READ or WRITE.
 *
 * Owns: the requests of one connection that are being carried out, and the payload staged for them.
 * Does not own: parsing, or when replies are written to the socket.
 * Invariants: each request is answered once, unless the connection is gone (`dropReplies`); then
 * it still runs to its end. What is not a DroverError is a bug and stops the process.
 */

import type { BusyPoll } from '../../store/runtime/busy-poll.ts';
import type { Clock } from '../../store/runtime/clock.ts';
import { type DroverError, isDroverError } from '../../store/runtime/drover-error.ts';
import type { BlockDevice } from '../volume/block-device.ts';
import type { BufferPool } from './buffer-pool.ts';
import { EXTENTS_MAX } from './limits.ts';
import type { HeldBytes, Output } from './output.ts';
import {
  DATA_CHUNK_HEAD_BYTES,
  putBlockStatus,
  putErrorChunk,
  putNoneChunk,
  putReadChunks,
  putSimpleError,
  putSuccess,
  writeDataChunkHead,
  writeSimpleReply,
} from './replies.ts';
import { isWriting, type Refusal, type Request } from './request-checks.ts';
import type { NbdStats } from './stats.ts';
import {
  CMD_BLOCK_STATUS,
  CMD_CACHE,
  CMD_FLAG_DF,
  CMD_FLAG_FUA,
  CMD_FLAG_NO_HOLE,
  CMD_FLAG_REQ_ONE,
  CMD_FLUSH,
  CMD_READ,
  CMD_TRIM,
  CMD_WRITE,
  CMD_WRITE_ZEROES,
  REPLY_FLAG_DONE,
  SIMPLE_REPLY_BYTES,
} from './wire.ts';
import { REQUEST_ERROR_BY_KIND } from './wire-errors.ts';

export interface RunnerParts {
  readonly device: BlockDevice;
  readonly output: Output;
  readonly pool: BufferPool;
  readonly held: HeldBytes;
  readonly stats: NbdStats;
  readonly clock: Clock;
  readonly busyPoll: BusyPoll;
  readonly structuredReplies: boolean;
  /** Called after each request that was carried out, its reply put. */
  readonly onSettled: () => void;
}

export class RequestRunner {
  readonly #parts: RunnerParts;
  #inFlight = 0;
  #stagedBytes = 0;
  #isDropping = false;

  constructor(parts: RunnerParts) {
    this.#parts = parts;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Payload held for requests under way. */
  get stagedBytes(): number {
    return this.#stagedBytes;
  }

  /** The client is gone: what settles from now on is not answered. */
  dropReplies(): void {
    this.#isDropping = true;
  }

  /** Answers a request that is not carried out; `startedMs` is when it arrived. */
  refuse(request: Request, refusal: Refusal, startedMs: number): void {
    this.#putError(request, refusal.error, refusal.text);
    this.#parts.stats.countError(request.command, refusal.error, this.#secondsSince(startedMs));
  }

  /**
   * Carries out a request that was checked. A WRITE comes with its payload, which must not change,
   * and the pool's buffer in which it lies, or with neither if it is done but for FUA.
   */
  run(
    request: Request,
    payload: Buffer | undefined,
    payloadLoan: Buffer | undefined,
    startedMs: number,
  ): void {
    let loan = payloadLoan;
    if (request.command === CMD_READ) {
      if (request.lengthBytes > 0) {
        loan = this.#parts.pool.take(DATA_CHUNK_HEAD_BYTES + request.lengthBytes);
      }
      this.#parts.busyPoll.sentOn(startedMs);
    }
    this.#inFlight += 1;
    this.#stage(loan?.length ?? 0);
    // Not awaited by anybody: what `#carryOut` does not expect ends the process.
    void this.#carryOut(request, payload, loan, startedMs);
  }

  async #carryOut(
    request: Request,
    payload: Buffer | undefined,
    loan: Buffer | undefined,
    startedMs: number,
  ): Promise<void> {
    let failure: DroverError | undefined;
    let putReply: (() => void) | undefined;
    try {
      putReply = await this.#perform(request, payload, loan);
    } catch (error) {
      if (!isDroverError(error)) throw error;
      failure = error;
    }
    this.#inFlight -= 1;
    this.#stage(-(loan?.length ?? 0));
    if (!this.#isDropping) {
      if (failure === undefined) putReply?.();
      else this.#putError(request, REQUEST_ERROR_BY_KIND[failure.kind], failure.message);
    }
    // After a failure the collector has it: what failed in part may still look at it.
    if (loan !== undefined && failure === undefined) {
      if (request.command === CMD_READ) this.#parts.output.giveBack(loan);
      else this.#parts.pool.give(loan);
    }
    this.#count(request, failure, startedMs);
    this.#parts.onSettled();
  }

  /** Resolves to what puts the reply. */
  async #perform(
    request: Request,
    payload: Buffer | undefined,
    loan: Buffer | undefined,
  ): Promise<() => void> {
    const { device, output } = this.#parts;
    const { command, flags, cookieHigh, cookieLow, offset, lengthBytes } = request;
    if (lengthBytes === 0 && command !== CMD_FLUSH) return this.#nothingToDo(request);
    switch (command) {
      case CMD_READ:
        return this.#read(request, loan!);
      case CMD_BLOCK_STATUS: {
        const runsMax = (flags & CMD_FLAG_REQ_ONE) === 0 ? EXTENTS_MAX : 1;
        const runs = await device.allocation(offset, lengthBytes, runsMax);
        return () => putBlockStatus(output, cookieHigh, cookieLow, runs);
      }
      case CMD_FLUSH:
        await device.flush();
        break;
      case CMD_CACHE:
        await device.prefetch(offset, lengthBytes);
        break;
      case CMD_WRITE:
        if (payload !== undefined) await device.write(offset, payload);
        break;
      case CMD_TRIM:
        await device.trim(offset, lengthBytes);
        break;
      case CMD_WRITE_ZEROES:
        // Zeroing stores no data whatever the length, so it is always fast enough for FAST_ZERO.
        await device.writeZeroes(offset, lengthBytes, (flags & CMD_FLAG_NO_HOLE) === 0);
        break;
      default:
        throw new Error(`command ${command} passed the checks`);
    }
    if (isWriting(command) && (flags & CMD_FLAG_FUA) !== 0) {
      await device.flushRange(offset, lengthBytes);
    }
    return () => putSuccess(output, cookieHigh, cookieLow);
  }

  /** Reads behind the place for the head, so that both leave as one. */
  async #read(request: Request, loan: Buffer): Promise<() => void> {
    const { device, output, structuredReplies } = this.#parts;
    const { flags, cookieHigh, cookieLow, offset, lengthBytes } = request;
    const headBytes = structuredReplies ? DATA_CHUNK_HEAD_BYTES : SIMPLE_REPLY_BYTES;
    const reply = loan.subarray(0, headBytes + lengthBytes);
    const content = reply.subarray(headBytes);
    const runs = await device.read(offset, content);
    return () => {
      if (!structuredReplies) {
        writeSimpleReply(reply, 0, cookieHigh, cookieLow, 0);
        output.append(reply);
      } else if (runs.length === 1 && !runs[0]!.isZero) {
        const done = REPLY_FLAG_DONE;
        writeDataChunkHead(reply, 0, done, cookieHigh, cookieLow, offset, lengthBytes);
        output.append(reply);
      } else {
        const unfragmented = (flags & CMD_FLAG_DF) !== 0;
        putReadChunks(output, cookieHigh, cookieLow, offset, content, runs, unfragmented);
      }
    };
  }

  /** A length of 0 is "unspecified" in the specification; it succeeds, as QEMU's server has it. */
  #nothingToDo({ command, cookieHigh, cookieLow }: Request): () => void {
    const { output, structuredReplies } = this.#parts;
    return command === CMD_READ && structuredReplies
      ? () => putNoneChunk(output, cookieHigh, cookieLow)
      : () => putSuccess(output, cookieHigh, cookieLow);
  }

  #putError({ cookieHigh, cookieLow }: Request, error: number, text: string): void {
    const { output, structuredReplies } = this.#parts;
    if (structuredReplies) putErrorChunk(output, cookieHigh, cookieLow, error, text);
    else putSimpleError(output, cookieHigh, cookieLow, error);
  }

  #count(request: Request, failure: DroverError | undefined, startedMs: number): void {
    const { stats, clock, busyPoll } = this.#parts;
    const nowMs = clock.nowMs();
    if (request.command === CMD_READ) busyPoll.answered(nowMs);
    const seconds = (nowMs - startedMs) / 1000;
    if (failure === undefined) {
      stats.countSuccess(request.command, 1, request.lengthBytes, seconds);
    } else {
      stats.countError(request.command, REQUEST_ERROR_BY_KIND[failure.kind], seconds);
    }
  }

  #stage(byteCount: number): void {
    this.#stagedBytes += byteCount;
    this.#parts.held.total += byteCount;
  }

  #secondsSince(startedMs: number): number {
    return (this.#parts.clock.nowMs() - startedMs) / 1000;
  }
}
