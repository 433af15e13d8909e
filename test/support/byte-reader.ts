/**
 * A stream of bytes as `await take(n)`.
 *
 * Owns: what arrived and was not taken. One `take` at a time; after `fail`, every take that cannot
 * be served from what had arrived is rejected.
 */
export class ByteReader {
  #chunks: Buffer[] = [];
  #heldBytes = 0;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#heldBytes += chunk.length;
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  async take(byteCount: number): Promise<Buffer> {
    while (this.#heldBytes < byteCount) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const first = this.#chunks[0];
    if (first === undefined) return Buffer.alloc(0);
    const all = first.length >= byteCount ? first : Buffer.concat(this.#chunks);
    if (all !== first) this.#chunks = [all];
    if (all.length === byteCount) this.#chunks.shift();
    else this.#chunks[0] = all.subarray(byteCount);
    this.#heldBytes -= byteCount;
    return all.subarray(0, byteCount);
  }
}
