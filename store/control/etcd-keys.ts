/**
 * Control records as etcd's keys and values.
 *
 * Owns the conversion. All keys of a control plane lie under a prefix of their own, so that one
 * etcd may serve others too.
 */
import { assertControlKey, prefixEnd } from './control-key.ts';
import type { ControlRecord } from './control-plane.ts';
import type { KeyValue, RangeRequest } from './etcd-api.ts';

export class EtcdKeys {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  keyOf(key: string): Buffer {
    assertControlKey(key);
    return Buffer.from(this.#prefix + key);
  }

  rangeOf(prefix: string): Required<Omit<RangeRequest, 'keys_only'>> {
    const start = this.#prefix + prefix;
    return { key: Buffer.from(start), range_end: Buffer.from(prefixEnd(start)) };
  }

  controlKeyOf({ key }: KeyValue): string {
    return key.toString().slice(this.#prefix.length);
  }

  /** What is not JSON, because somebody else put it there, has the value `undefined`. */
  recordOf(found: KeyValue): ControlRecord {
    const key = this.controlKeyOf(found);
    return { key, value: parsedJson(found.value), revision: Number(found.mod_revision) };
  }
}

function parsedJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
