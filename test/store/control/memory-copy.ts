/**
 * A copy of control records in memory that fails or hangs as a test likes, and a control plane on it.
 */
import type {
  ControlCopy,
  ControlDelta,
  ControlImage,
  StoredRecord,
} from '../../../store/control/control-image.ts';
import { EmbeddedControl } from '../../../store/control/embedded-control.ts';
import { MirroredCopies } from '../../../store/control/mirrored-copies.ts';
import { type Clock, systemClock } from '../../../store/runtime/clock.ts';
import { systemRandom } from '../../../store/runtime/random.ts';

export class MemoryCopy implements ControlCopy {
  readonly name: string;
  /** What is durable. */
  image: ControlImage | undefined;
  opened: ControlImage | undefined;
  /**
   * - `fine`
   * - `failing`: changes nothing and says that it failed
   * - `lying`: changes what it was asked to and says that it failed
   * - `hanging`: says nothing until `answer`
   */
  mode: 'fine' | 'failing' | 'lying' | 'hanging' = 'fine';
  #waiting: (() => void)[] = [];

  constructor(name: string, image?: ControlImage) {
    this.name = name;
    this.image = image;
    this.opened = image;
  }

  /** The same disk after a restart. */
  reopened(): MemoryCopy {
    return new MemoryCopy(this.name, this.image);
  }

  value(key: string): unknown {
    const record = this.image?.records.get(key);
    return record && JSON.parse(record.json);
  }

  apply(delta: ControlDelta): Promise<void> {
    const { image } = this;
    if (image === undefined) throw new Error('changed before there was an image');
    const records = new Map<string, StoredRecord>(image.records);
    for (const key of delta.remove) records.delete(key);
    for (const [key, record] of delta.put) records.set(key, record);
    return this.replace({ ...image, revision: delta.revision, records });
  }

  async replace(image: ControlImage): Promise<void> {
    const { mode } = this;
    if (mode === 'failing') throw new Error(`${this.name} fails`);
    if (mode === 'hanging') await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.image = image;
    if (mode === 'lying') throw new Error(`${this.name} fails`);
  }

  answer(): void {
    this.mode = 'fine';
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async close(): Promise<void> {}
}

export async function openOn(
  copies: readonly MemoryCopy[],
  options: { readonly copyCount?: number; readonly clock?: Clock } = {},
): Promise<EmbeddedControl> {
  const clock = options.clock ?? systemClock;
  const mirrored = await MirroredCopies.open({
    copies,
    copyCount: options.copyCount ?? copies.length,
    clock,
    random: systemRandom,
  });
  return new EmbeddedControl(mirrored, clock);
}
