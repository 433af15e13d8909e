/**
 * The data of the options that carry some, decoded and checked.
 *
 * Owns: what is well-formed: strings within the specification's bounds, counts that add up to the
 * length. A function returns `undefined` for what is not. Does not own: any answer.
 */
import { STRING_BYTES_MAX } from './limits.ts';
import { countLayout, shortLayout } from './wire.ts';

export interface InfoRequest {
  readonly exportName: string;
  readonly infoTypes: readonly number[];
}

export interface MetaContextRequest {
  readonly exportName: string;
  readonly queries: readonly string[];
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** NBD, "Conventions": UTF-8 without NUL, at most 4096 bytes. */
export function decodeString(bytes: Buffer): string | undefined {
  if (bytes.length > STRING_BYTES_MAX || bytes.includes(0)) return undefined;
  try {
    return strictUtf8.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/** Reads fields one after another; one that is not there makes it `broken` for good. */
class FieldReader {
  readonly #data: Buffer;
  #at = 0;
  broken = false;

  constructor(data: Buffer) {
    this.#data = data;
  }

  get leftBytes(): number {
    return this.#data.length - this.#at;
  }

  #skip(byteCount: number): number | undefined {
    if (this.broken || byteCount > this.leftBytes) {
      this.broken = true;
      return undefined;
    }
    this.#at += byteCount;
    return this.#at - byteCount;
  }

  count(): number {
    const at = this.#skip(countLayout.span);
    return at === undefined ? 0 : countLayout.decode(this.#data, at).count;
  }

  short(): number {
    const at = this.#skip(shortLayout.span);
    return at === undefined ? 0 : shortLayout.decode(this.#data, at).value;
  }

  /** A 32-bit length and as many bytes of text. */
  string(): string {
    const byteCount = this.count();
    const at = this.#skip(byteCount);
    if (at === undefined) return '';
    const text = decodeString(this.#data.subarray(at, at + byteCount));
    if (text === undefined) this.broken = true;
    return text ?? '';
  }
}

/** The data of NBD_OPT_INFO and NBD_OPT_GO. */
export function decodeInfoRequest(data: Buffer): InfoRequest | undefined {
  const reader = new FieldReader(data);
  const exportName = reader.string();
  const infoCount = reader.short();
  if (reader.broken || reader.leftBytes !== infoCount * shortLayout.span) return undefined;
  const infoTypes: number[] = [];
  for (let i = 0; i < infoCount; i += 1) infoTypes.push(reader.short());
  return { exportName, infoTypes };
}

/** The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export function decodeMetaContextRequest(data: Buffer): MetaContextRequest | undefined {
  const reader = new FieldReader(data);
  const exportName = reader.string();
  const queryCount = reader.count();
  const queries: string[] = [];
  // Each query takes bytes, so a count that is too high ends at the end of the data.
  for (let i = 0; i < queryCount && !reader.broken; i += 1) queries.push(reader.string());
  return reader.broken || reader.leftBytes !== 0 ? undefined : { exportName, queries };
}
