/**
 * The exports of a test: devices in memory, by name.
 */
import type { BlockDevice } from '../../../server/volume/block-device.ts';
import type {
  ExportCatalog,
  ExportDescription,
  ExportUse,
} from '../../../server/volume/export-catalog.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import type { MemoryDevice } from './memory-device.ts';

export class MemoryCatalog implements ExportCatalog {
  readonly devices: readonly MemoryDevice[];
  readonly uses: ExportUse[] = [];
  /** How often the exports were listed. */
  lists = 0;
  /** Called before an export is opened: may wait, or throw what `open` then throws. */
  beforeOpen: () => void | Promise<void> = () => {};

  constructor(...devices: readonly MemoryDevice[]) {
    this.devices = devices;
  }

  list(): readonly ExportDescription[] {
    this.lists += 1;
    return this.#describeAll();
  }

  #describeAll(): readonly ExportDescription[] {
    return this.devices.map(({ name, sizeBytes, isReadOnly }) => ({
      name,
      description: `${name} in memory`,
      sizeBytes,
      isReadOnly,
    }));
  }

  find(name: string): ExportDescription | undefined {
    if (name === '') return this.devices.length === 1 ? this.#describeAll()[0] : undefined;
    return this.#describeAll().find((entry) => entry.name === name);
  }

  async open(name: string, use: ExportUse): Promise<BlockDevice> {
    this.uses.push(use);
    await this.beforeOpen();
    const found = this.find(name);
    const device = this.devices.find((candidate) => candidate.name === found?.name);
    if (device === undefined) throw new DroverError('notFound', `there is no export '${name}'`);
    return device;
  }
}
