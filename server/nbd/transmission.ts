/**
 * The transmission phase of one connection: bytes into requests, requests to whoever answers them.
 *
 * Owns: parsing, and the data path of resident blocks. Does not own: the socket, the receive
 * buffer, or requests that need a promise (`request-runner.ts`).
 * Invariants: a request is taken whole or not at all, except the payload of one that is refused,
 * which is skipped as it comes and answered after its last byte. Nothing is taken above the limits.
 */
import type { BlockDevice } from '../volume/block-device.ts';
import { readI32, readU16, readU32, readU64 } from './big-endian.ts';
import { type NbdLimits, PAYLOAD_BYTES_MAX } from './limits.ts';
import type { Output } from './output.ts';
import type { ReceiveBuffer } from './receive-buffer.ts';
import { putSuccess } from './replies.ts';
import { checkRequest, type Refusal, type Request, type RequestTerms } from './request-checks.ts';
import { RequestRunner, type RunnerParts } from './request-runner.ts';
import { ResidentReader } from './resident-reader.ts';
import {
  CMD_DISC,
  CMD_FLAG_FUA,
  CMD_READ,
  CMD_WRITE,
  NBD_ESHUTDOWN,
  REQUEST_BYTES,
  REQUEST_COMMAND_AT,
  REQUEST_COOKIE_AT,
  REQUEST_FLAGS_AT,
  REQUEST_LENGTH_AT,
  REQUEST_MAGIC,
  REQUEST_OFFSET_AT,
} from './wire.ts';

export interface TransmissionParts extends RunnerParts {
  readonly limits: NbdLimits;
  readonly terms: RequestTerms;
  /** NBD_CMD_DISC arrived; nothing after it is looked at. */
  readonly onDisconnect: () => void;
  /** The client broke the protocol beyond repair; nothing more is looked at. */
  readonly onViolation: (reason: string) => void;
}

/**
 * `serving`: requests are carried out. → refusing, ended
 * `refusing`: requests are answered NBD_ESHUTDOWN, those under way end. → ended
 * `ended`: input is ignored.
 */
type ServingState = 'serving' | 'refusing' | 'ended';

export class Transmission {
  readonly #parts: TransmissionParts;
  readonly #device: BlockDevice;
  readonly #output: Output;
  readonly #runner: RequestRunner;
  readonly #reader: ResidentReader;
  readonly #sizeBytes: number;
  readonly #mayWriteHot: boolean;
  #state: ServingState = 'serving';
  #isPaused = false;
  /** Payload still to be skipped, of the request refused below. */
  #skipBytes = 0;
  #skipped: { readonly request: Request; readonly refusal: Refusal } | undefined;
  /** Of this turn, counted when it ends. */
  #turnStartMs = 0;
  #reads = 0;
  #readBytes = 0;
  #writes = 0;
  #writeBytes = 0;
  /** Length of the first request that is not whole; 0 if what is left only has to wait. */
  neededBytes = 0;

  constructor(parts: TransmissionParts) {
    this.#parts = parts;
    this.#device = parts.device;
    this.#output = parts.output;
    this.#runner = new RequestRunner(parts);
    this.#reader = new ResidentReader(parts.device, parts.output, parts.structuredReplies);
    this.#sizeBytes = parts.terms.sizeBytes;
    this.#mayWriteHot = !parts.terms.isReadOnly;
  }

  /** Requests under way that were not answered yet. */
  get inFlight(): number {
    return this.#runner.inFlight;
  }

  /** True if input is left that may only be taken when something under way has ended. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** From now on requests are refused; those under way are answered. */
  refuseRequests(): void {
    if (this.#state === 'serving') this.#state = 'refusing';
  }

  /** From now on input is ignored; requests under way are answered. */
  endInput(): void {
    this.#state = 'ended';
  }

  /** The client is gone. */
  dropReplies(): void {
    this.#state = 'ended';
    this.#runner.dropReplies();
  }

  /** Hot path. Takes all requests that are whole. */
  take(input: ReceiveBuffer): void {
    const { clock, stats, busyPoll } = this.#parts;
    this.#turnStartMs = clock.nowMs();
    do {
      this.#takeRequests(input);
      this.#output.flush();
      // The kernel may have taken at once what the limits waited for.
    } while (this.#isPaused && this.#mayTake());
    if (this.#reads + this.#writes > 0) {
      const nowMs = clock.nowMs();
      busyPoll.answered(nowMs);
      const seconds = (nowMs - this.#turnStartMs) / 1000;
      if (this.#reads > 0) stats.countSuccess(CMD_READ, this.#reads, this.#readBytes, seconds);
      if (this.#writes > 0) stats.countSuccess(CMD_WRITE, this.#writes, this.#writeBytes, seconds);
      this.#reads = 0;
      this.#readBytes = 0;
      this.#writes = 0;
      this.#writeBytes = 0;
    }
  }

  /** Hot path. */
  #takeRequests(input: ReceiveBuffer): void {
    const { bytes, end } = input;
    this.#isPaused = false;
    this.neededBytes = REQUEST_BYTES;
    for (;;) {
      if (this.#skipBytes > 0) this.#skip(input);
      if (this.#state === 'ended') {
        input.start = end;
        return;
      }
      const at = input.start;
      if (end - at < REQUEST_BYTES) return;
      if (readU32(bytes, at) !== REQUEST_MAGIC) {
        this.#state = 'ended';
        this.#parts.onViolation('a request does not start with its magic number');
        continue;
      }
      if (!this.#mayTake()) {
        this.#isPaused = true;
        this.neededBytes = 0;
        return;
      }
      if (!this.#takeRequest(input, at)) return;
    }
  }

  /** Hot path. Whether the limits let one more request in. */
  #mayTake(): boolean {
    const { limits, held } = this.#parts;
    const heldBytes = this.#runner.stagedBytes + this.#output.unsentBytes;
    if (heldBytes === 0) return this.#runner.inFlight < limits.requestsMax;
    return (
      this.#runner.inFlight < limits.requestsMax &&
      heldBytes < limits.heldBytesMax &&
      (heldBytes < limits.heldBytesAssured || held.total < limits.heldBytesTotalMax)
    );
  }

  /** Hot path. False if the request is not whole. */
  #takeRequest(input: ReceiveBuffer, at: number): boolean {
    const { bytes } = input;
    const command = readU16(bytes, at + REQUEST_COMMAND_AT);
    const flags = readU16(bytes, at + REQUEST_FLAGS_AT);
    const offset = readU64(bytes, at + REQUEST_OFFSET_AT);
    const lengthBytes = readU32(bytes, at + REQUEST_LENGTH_AT);
    if (
      flags === 0 &&
      lengthBytes > 0 &&
      lengthBytes <= PAYLOAD_BYTES_MAX &&
      offset + lengthBytes <= this.#sizeBytes &&
      this.#state === 'serving'
    ) {
      if (command === CMD_READ) {
        const cookieHigh = readI32(bytes, at + REQUEST_COOKIE_AT);
        const cookieLow = readI32(bytes, at + REQUEST_COOKIE_AT + 4);
        if (this.#reader.read(cookieHigh, cookieLow, offset, lengthBytes)) {
          input.start = at + REQUEST_BYTES;
          this.#reads += 1;
          this.#readBytes += lengthBytes;
          return true;
        }
      } else if (command === CMD_WRITE && this.#mayWriteHot) {
        const payloadAt = at + REQUEST_BYTES;
        if (input.end - payloadAt < lengthBytes) {
          this.neededBytes = REQUEST_BYTES + lengthBytes;
          return false;
        }
        if (this.#device.tryWrite(offset, lengthBytes, bytes, payloadAt)) {
          const cookieHigh = readI32(bytes, at + REQUEST_COOKIE_AT);
          const cookieLow = readI32(bytes, at + REQUEST_COOKIE_AT + 4);
          input.start = payloadAt + lengthBytes;
          putSuccess(this.#output, cookieHigh, cookieLow);
          this.#writes += 1;
          this.#writeBytes += lengthBytes;
          return true;
        }
      }
    }
    return this.#takeSlow(input, at, {
      command,
      flags,
      cookieHigh: readI32(bytes, at + REQUEST_COOKIE_AT),
      cookieLow: readI32(bytes, at + REQUEST_COOKIE_AT + 4),
      offset,
      lengthBytes,
    });
  }

  /** Takes a request that is refused or needs a promise; false if it is not whole. */
  #takeSlow(input: ReceiveBuffer, at: number, request: Request): boolean {
    const { command, flags, lengthBytes, offset } = request;
    if (command === CMD_DISC) {
      this.#state = 'ended';
      this.#parts.onDisconnect();
      return true;
    }
    const refusal =
      this.#state === 'refusing'
        ? { error: NBD_ESHUTDOWN, text: 'the export is being taken away' }
        : checkRequest(request, this.#parts.terms);
    const payloadAt = at + REQUEST_BYTES;
    if (refusal !== undefined) {
      input.start = payloadAt;
      this.#skipBytes = command === CMD_WRITE ? lengthBytes : 0;
      if (this.#skipBytes > 0) this.#skipped = { request, refusal };
      else this.#runner.refuse(request, refusal, this.#turnStartMs);
      return true;
    }
    if (command !== CMD_WRITE) {
      input.start = payloadAt;
      this.#runner.run(request, undefined, undefined, this.#turnStartMs);
      return true;
    }
    const end = payloadAt + lengthBytes;
    if (input.end < end) {
      this.neededBytes = REQUEST_BYTES + lengthBytes;
      return false;
    }
    // Without FUA the data path has tried just now.
    const isDone =
      (flags & CMD_FLAG_FUA) !== 0 &&
      this.#device.tryWrite(offset, lengthBytes, input.bytes, payloadAt);
    if (isDone) this.#runner.run(request, undefined, undefined, this.#turnStartMs);
    else this.#stage(input, at, end, request);
    input.start = end;
    return true;
  }

  /** Carries out a WRITE with its payload in a buffer of its own: what it arrived in, if it can be. */
  #stage(input: ReceiveBuffer, at: number, end: number, request: Request): void {
    const payloadAt = at + REQUEST_BYTES;
    let loan = input.handOver(at, end);
    let payload: Buffer;
    if (loan === undefined) {
      loan = this.#parts.pool.take(request.lengthBytes);
      input.bytes.copy(loan, 0, payloadAt, end);
      payload = loan.subarray(0, request.lengthBytes);
    } else {
      payload = loan.subarray(payloadAt, end);
    }
    this.#runner.run(request, payload, loan, this.#turnStartMs);
  }

  #skip(input: ReceiveBuffer): void {
    const skippedBytes = Math.min(this.#skipBytes, input.end - input.start);
    input.start += skippedBytes;
    this.#skipBytes -= skippedBytes;
    if (this.#skipBytes === 0 && this.#skipped !== undefined) {
      const { request, refusal } = this.#skipped;
      this.#skipped = undefined;
      this.#runner.refuse(request, refusal, this.#turnStartMs);
    }
  }
}
