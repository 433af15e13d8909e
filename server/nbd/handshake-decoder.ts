/**
 * The client's bytes of the handshake, cut into messages.
 *
 * Owns: what has arrived of the message at hand. Does not own: what a message means, or any I/O.
 * Invariants: holds at most one message, `OPTION_DATA_BYTES_MAX` bytes of data; takes no byte
 * behind the message it delivers, because the bytes after the last one belong to the transmission.
 */
import { OPTION_DATA_BYTES_MAX } from './limits.ts';
import {
  clientFlagsLayout,
  IHAVEOPT,
  OPT_EXPORT_NAME,
  OPT_GO,
  OPT_INFO,
  OPT_LIST_META_CONTEXT,
  OPT_SET_META_CONTEXT,
  optionHeaderLayout,
} from './wire.ts';

export type HandshakeMessage =
  | { readonly kind: 'clientFlags'; readonly flags: number }
  | { readonly kind: 'option'; readonly option: number; readonly data: Buffer }
  /** An option whose data was skipped: nobody reads it, or there is too much of it. */
  | { readonly kind: 'skippedOption'; readonly option: number; readonly lengthBytes: number }
  | { readonly kind: 'badMagic' };

type DecoderState =
  | { readonly name: 'clientFlags' }
  | { readonly name: 'optionHeader' }
  | { readonly name: 'optionData'; readonly option: number }
  | {
      readonly name: 'skipping';
      readonly option: number;
      readonly lengthBytes: number;
      leftBytes: number;
    };

/** The options whose data is looked into; of all others only the length counts. */
const OPTIONS_WITH_DATA: ReadonlySet<number> = new Set([
  OPT_EXPORT_NAME,
  OPT_INFO,
  OPT_GO,
  OPT_LIST_META_CONTEXT,
  OPT_SET_META_CONTEXT,
]);

const NO_BYTES = Buffer.alloc(0);

export class HandshakeDecoder {
  #state: DecoderState = { name: 'clientFlags' };
  /** What is being gathered, `#heldBytes` of it so far. */
  #held = Buffer.alloc(clientFlagsLayout.span);
  #heldBytes = 0;
  #message: HandshakeMessage | undefined;

  /**
   * Takes bytes from `start` on until a message is complete or `end` is reached; returns the
   * position behind the last byte taken.
   */
  take(bytes: Buffer, start: number, end: number): number {
    let at = start;
    while (this.#message === undefined && at < end) {
      if (this.#state.name === 'skipping') {
        const skippedBytes = Math.min(this.#state.leftBytes, end - at);
        this.#state.leftBytes -= skippedBytes;
        at += skippedBytes;
        if (this.#state.leftBytes === 0) this.#skipped(this.#state.option, this.#state.lengthBytes);
      } else {
        const copied = bytes.copy(this.#held, this.#heldBytes, at, end);
        this.#heldBytes += copied;
        at += copied;
        if (this.#heldBytes === this.#held.length) this.#gathered();
      }
    }
    return at;
  }

  /** The message that the last `take` completed, once. */
  nextMessage(): HandshakeMessage | undefined {
    const message = this.#message;
    this.#message = undefined;
    return message;
  }

  #gather(state: DecoderState, byteCount: number): void {
    this.#state = state;
    this.#held = byteCount === 0 ? NO_BYTES : Buffer.allocUnsafe(byteCount);
    this.#heldBytes = 0;
  }

  #gathered(): void {
    switch (this.#state.name) {
      case 'clientFlags':
        this.#deliver({
          kind: 'clientFlags',
          flags: clientFlagsLayout.decode(this.#held).flags,
        });
        return;
      case 'optionHeader':
        this.#headerGathered();
        return;
      case 'optionData':
        this.#deliver({ kind: 'option', option: this.#state.option, data: this.#held });
        return;
      case 'skipping':
        throw new Error('skipped bytes are not gathered');
    }
  }

  #headerGathered(): void {
    const { magic, option, lengthBytes } = optionHeaderLayout.decode(this.#held);
    if (!magic.equals(IHAVEOPT)) {
      this.#deliver({ kind: 'badMagic' });
    } else if (OPTIONS_WITH_DATA.has(option) && lengthBytes <= OPTION_DATA_BYTES_MAX) {
      if (lengthBytes === 0) this.#deliver({ kind: 'option', option, data: NO_BYTES });
      else this.#gather({ name: 'optionData', option }, lengthBytes);
    } else if (lengthBytes === 0) {
      this.#skipped(option, 0);
    } else {
      this.#gather({ name: 'skipping', option, lengthBytes, leftBytes: lengthBytes }, 0);
    }
  }

  #skipped(option: number, lengthBytes: number): void {
    this.#deliver({ kind: 'skippedOption', option, lengthBytes });
  }

  #deliver(message: HandshakeMessage): void {
    this.#message = message;
    this.#gather({ name: 'optionHeader' }, optionHeaderLayout.span);
  }
}
