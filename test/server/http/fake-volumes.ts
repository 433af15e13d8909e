/**
 * Volumes in memory, for tests of the HTTP server and of the command line.
 */
import type {
  CreateBody,
  VolumeAdministration,
  VolumeStatus,
} from '../../../server/http/volume-api.ts';
import { OBJECT_BYTES_DEFAULT } from '../../../store/geometry.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';

export class FakeVolumes implements VolumeAdministration {
  readonly volumes = new Map<string, VolumeStatus>();
  /** Thrown by the next call instead of its work. */
  nextError: unknown;

  list(): readonly VolumeStatus[] {
    this.#throwIfAsked();
    return [...this.volumes.values()];
  }

  show(name: string): VolumeStatus {
    this.#throwIfAsked();
    const volume = this.volumes.get(name);
    if (volume === undefined) throw new DroverError('notFound', `no volume ${name}`);
    return volume;
  }

  async create({ name, sizeBytes, objectBytes, isReadOnly }: CreateBody): Promise<VolumeStatus> {
    this.#throwIfAsked();
    if (this.volumes.has(name)) throw new DroverError('exists', `volume ${name} exists`);
    return this.put({
      ...{ name, sizeBytes, objectBytes: objectBytes ?? OBJECT_BYTES_DEFAULT },
      isReadOnly: isReadOnly ?? false,
    });
  }

  async resize(name: string, sizeBytes: number): Promise<VolumeStatus> {
    const before = this.show(name);
    if (sizeBytes < before.sizeBytes) throw new DroverError('invalid', 'volumes only grow');
    return this.put({ ...before, sizeBytes });
  }

  async setReadOnly(name: string, isReadOnly: boolean): Promise<VolumeStatus> {
    return this.put({ ...this.show(name), isReadOnly });
  }

  async remove(name: string, { force }: { readonly force: boolean }): Promise<void> {
    const { clientCount } = this.show(name);
    if (clientCount > 0 && !force) throw new DroverError('busy', `${clientCount} clients`);
    this.volumes.delete(name);
  }

  put(part: Partial<VolumeStatus> & { readonly name: string }): VolumeStatus {
    const status: VolumeStatus = {
      id: this.volumes.size + 1,
      sizeBytes: 4096,
      objectBytes: OBJECT_BYTES_DEFAULT,
      isReadOnly: false,
      isAttached: false,
      clientCount: 0,
      dirtyBytes: 0,
      ...part,
    };
    this.volumes.set(status.name, status);
    return status;
  }

  #throwIfAsked(): void {
    const error = this.nextError;
    this.nextError = undefined;
    if (error !== undefined) throw error;
  }
}
