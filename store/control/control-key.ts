/**
 * What a key of a control record may be.
 *
 * Owns: the check, and the range of keys under a prefix. Printable ASCII only, so that every
 * implementation orders keys alike.
 */
import { strict as assert } from 'node:assert';

/** Below the key limit of LMDB, the smallest of the stores beneath. */
const KEY_CHARS_MAX = 512;

export function assertControlKey(key: string): void {
  assert(/^[\x21-\x7e]+$/.test(key), `control key ${JSON.stringify(key)} is not printable ASCII`);
  assert(key.length <= KEY_CHARS_MAX, `control key ${key} is over ${KEY_CHARS_MAX} characters`);
}

/** The smallest string above every key that starts with `prefix`. */
export function prefixEnd(prefix: string): string {
  return `${prefix}\x7f`;
}
