/**
 * The volumes that a protocol server can offer, by name.
 *
 * Owns the interface; the volume registry implements it.
 */
import type { BlockDevice } from './block-device.ts';

export interface ExportDescription {
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
}

export interface ExportUse {
  /** Called when the volume is taken away (forced removal): the user must close its connection. */
  onDetach(reason: string): void;
}

export interface ExportCatalog {
  list(): readonly ExportDescription[];
  /** The empty name means the only volume, where there is just one. */
  find(name: string): ExportDescription | undefined;
  /** Attaches the volume if need be. Errors: `notFound`, `busy`, `unavailable`. */
  open(name: string, use: ExportUse): Promise<BlockDevice>;
}
