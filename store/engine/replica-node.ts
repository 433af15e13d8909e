/**
 * What replication asks of a store node beyond reading and writing: comparing, copying, repairing.
 *
 * Owns the types and their rules; no behaviour. Only the holder of a volume's lease asks for a
 * change, so each carries the volume and the lease's epoch, and a lower epoch is `fenced`.
 */
import type { ObjectKey, StoreNode, Version } from './store-node.ts';

/** A change asked for by the holder of a volume's lease. */
export interface LeaseScope {
  readonly volumeId: number;
  readonly epoch: number;
}

/** An object as one node has it, without its bytes. */
export interface ObjectDescription {
  readonly version: Version;
  /** A `BlockKind` for each block. */
  readonly kinds: Uint8Array;
  /** The stored CRC-32 of each block; 0 where there is no data. */
  readonly blockCrcs: Uint32Array;
}

export interface CopyRequest extends ObjectKey, LeaseScope {
  /** What the source must have, and what this node has afterwards. */
  readonly version: Version;
  readonly blockCount: number;
  /** The node id of the source; how it is reached is the asked node's own knowledge. */
  readonly sourceNodeId: string;
  /**
   * Copy only these blocks (a bit for each, least significant first), given that this node has the
   * object at exactly `base`. Without it the whole object is copied over whatever is here.
   */
  readonly delta?: { readonly base: Version; readonly changedBlocks: Uint8Array };
}

export interface CopyResult {
  /** Payload bytes that came from the source. */
  readonly receivedBytes: number;
}

export interface InstallRequest extends ObjectKey, LeaseScope {
  readonly version: Version;
  readonly kinds: Uint8Array;
  readonly blockCrcs: Uint32Array;
  /** The bytes of the data blocks, in order; whole blocks each. */
  readonly payload: readonly Buffer[];
}

export interface RepairRequest extends ObjectKey, LeaseScope {
  /** The repair is refused as `conflict` if the object has another version. */
  readonly version: Version;
  readonly startBlock: number;
  readonly blockCrcs: Uint32Array;
  readonly payload: readonly Buffer[];
}

export interface NodeSpace {
  /** What the node may use for segments, reserve included. */
  readonly capacityBytes: number;
  readonly liveBytes: number;
  /** What a writer can still use; 0 when writes get `outOfSpace`. */
  readonly freeBytes: number;
  readonly objectCount: number;
}

export interface ReplicaNode extends StoreNode {
  readonly nodeId: string;
  /**
   * Fetches an object straight from another node and installs it, durably, whole or not at all.
   * Errors: as `install`; `conflict` if the source does not have `version` or this node not
   * `delta.base`; `unavailable` or `corrupt` if the source cannot be read.
   */
  copyObject(request: CopyRequest): Promise<CopyResult>;
  /**
   * Replaces an object by the given content and version, durably, whole or not at all, whatever
   * version was here. Errors: `fenced`, `outOfSpace`, `unavailable`.
   */
  install(request: InstallRequest): Promise<void>;
  /** Durably removes an object that no in-sync node has. Error: `fenced`, `unavailable`. */
  removeObject(request: ObjectKey & LeaseScope): Promise<void>;
  /**
   * Durably replaces the stored bytes of blocks without a change of version, because what is
   * stored does not match its checksum. Errors: `fenced`, `conflict`, `outOfSpace`, `unavailable`.
   */
  repair(request: RepairRequest): Promise<void>;
  describeObject(key: ObjectKey, blockCount: number): Promise<ObjectDescription>;
  space(): Promise<NodeSpace>;
  /** Layers of which this node has objects. */
  listLayers(): Promise<number[]>;
}
