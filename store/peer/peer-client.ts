/**
 * A store node that is reached over the network, as the `ReplicaNode` it is.
 *
 * Owns: the operations, and putting the connection (`peer-link.ts`) and the calls (`call-pipe.ts`)
 * together. Does not own: whether a node that is silent or refuses is still counted on: its user
 * looks at `health` and calls `abandon` or `close`.
 *
 * Rules:
 * - A call settles when its answer comes; a lost connection is made again, and what was not
 *   answered is sent again in the original order. That is safe because every operation may be
 *   repeated: a write names its base and target version, and the node runs nothing of an earlier
 *   connection any more when it welcomes the next (`peer-server.ts`). The caller's part is to have
 *   one change of an object in flight at a time.
 * - Payload, and the buffers of a read, belong to the call until it settles; after that they are
 *   neither read nor written to, also when it was abandoned.
 * - Beyond the limits in flight calls wait in order; beyond `WAITING_CALLS_MAX` they are rejected.
 */
import type {
  CopyRequest,
  CopyResult,
  InstallRequest,
  LeaseScope,
  NodeSpace,
  ObjectDescription,
  RepairRequest,
  ReplicaNode,
} from '../engine/replica-node.ts';
import type {
  ObjectKey,
  ReadRequest,
  ReadResult,
  VersionPage,
  WriteRequest,
} from '../engine/store-node.ts';
import { BLOCK_BYTES } from '../geometry.ts';
import { DroverError } from '../runtime/drover-error.ts';
import type { NetworkAddress } from '../runtime/network.ts';
import type { CallBody } from './call-list.ts';
import { CallPipe } from './call-pipe.ts';
import * as operations from './cold-messages.ts';
import type { NodeIdentity } from './greeting.ts';
import {
  CLIENT_IN_FLIGHT,
  type InFlightLimits,
  VERSION_PAGE_MAX,
  WAITING_CALLS_MAX,
} from './limits.ts';
import { type LinkOptions, type LinkState, PeerLink } from './peer-link.ts';
import { type OperationStats, PeerClientStats } from './peer-stats.ts';
import { joinPages } from './version-pages.ts';

export interface PeerClientOptions extends LinkOptions {
  readonly inFlight?: InFlightLimits;
  readonly waitingCallsMax?: number;
}

/** What can be known of a node without asking it; times are those of the client's clock. */
export interface PeerHealth {
  readonly state: LinkState;
  readonly stateSinceMs: number;
  /** Undefined while the state is `up`. */
  readonly notUpSinceMs: number | undefined;
  /** Since when the node is gone, by answers that say so; undefined if one is owed. */
  readonly refusedSinceMs: number | undefined;
  /** When the oldest call that is not answered was made; undefined if there is none. */
  readonly outstandingSinceMs: number | undefined;
  /**
   * Since when the node owes a sign of life: nothing was received since, though it was asked or
   * there is no connection. A connection that is given up meanwhile does not start it anew.
   * Undefined if it owes none.
   */
  readonly silentSinceMs: number | undefined;
  /** When anything was last received. */
  readonly lastReceivedMs: number;
  /** When a call was last answered. */
  readonly lastAnswerMs: number;
  readonly lastFailure: string | undefined;
}

export class PeerClient implements ReplicaNode {
  readonly nodeId: string;
  readonly stats = new PeerClientStats();
  readonly #link: PeerLink;
  readonly #pipe: CallPipe;
  readonly #listeners = new Set<(state: LinkState) => void>();

  /** Connects at once, and goes on trying until it is closed. */
  constructor(options: PeerClientOptions) {
    this.nodeId = options.nodeId;
    this.#pipe = new CallPipe({
      nodeId: options.nodeId,
      clock: options.clock,
      inFlight: options.inFlight ?? CLIENT_IN_FLIGHT,
      waitingCallsMax: options.waitingCallsMax ?? WAITING_CALLS_MAX,
      stats: this.stats,
      refuseAnswer: (reason) => this.#link.refuseAnswer(reason),
    });
    const onState = (state: LinkState) => this.#onState(state);
    this.#link = new PeerLink(options, this.#pipe, onState);
    this.#link.start();
  }

  // The connection.

  get state(): LinkState {
    return this.#link.state;
  }

  get health(): PeerHealth {
    const link = this.#link;
    return {
      state: link.state,
      stateSinceMs: link.stateSinceMs,
      notUpSinceMs: link.notUpSinceMs,
      refusedSinceMs: link.refusedSinceMs,
      outstandingSinceMs: this.#pipe.oldestMadeMs,
      silentSinceMs: link.silentSinceMs,
      lastReceivedMs: link.lastReceivedMs,
      lastAnswerMs: this.#pipe.lastAnswerMs,
      lastFailure: link.lastFailure,
    };
  }

  /** Who answered when the connection last came up; undefined before the first time. */
  get identity(): NodeIdentity | undefined {
    return this.#link.welcome;
  }

  /** Calls made and not settled. */
  get outstanding(): number {
    return this.#pipe.outstanding;
  }

  /**
   * Calls `listener` after each change of state; returns a function that ends that. When it is
   * told `up`, nothing was sent on the new connection yet: the listener may look at `identity`
   * and `abandon` what was meant for the node as it was before.
   */
  onStateChange(listener: (state: LinkState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The node has moved: the next attempt goes there. */
  changeAddress(address: NetworkAddress): void {
    this.#link.changeAddress(address);
  }

  /**
   * Rejects everything outstanding as `unavailable` and drops the connection, so that nothing of it
   * is sent later; then connects anew. What the node received already it may still carry out, but
   * not after it has welcomed this client again.
   */
  abandon(reason: string): void {
    // The stream goes first: no call may settle while its bytes can still be read or written.
    this.#link.reconnect(reason);
    this.stats.abandonedCalls += this.#pipe.rejectAll(`abandoned: ${reason}`);
  }

  /** Ends the connection for good; rejects everything outstanding, and later calls. */
  close(): void {
    this.#link.close();
    this.#pipe.rejectAll('closed');
  }

  #onState(state: LinkState): void {
    this.stats.connects = this.#link.connects;
    this.stats.connectFailures = this.#link.connectFailures;
    for (const listener of this.#listeners) listener(state);
  }

  // The operations of a node.

  write(request: WriteRequest): Promise<void> {
    const heldBytes = request.blockCrcs.length * BLOCK_BYTES;
    return this.#call({ name: 'write', request }, heldBytes, this.stats.write);
  }

  read(request: ReadRequest, into: readonly Buffer[]): Promise<ReadResult> {
    const heldBytes = request.blockCount * BLOCK_BYTES;
    return this.#call({ name: 'read', request, into }, heldBytes, this.stats.read);
  }

  map(key: ObjectKey, blockCount: number): Promise<Uint8Array> {
    return this.#cold(operations.mapOperation, { key, blockCount });
  }

  async listVersions(
    layerId: number,
    fromObjectIndex: number,
    limit: number,
  ): Promise<VersionPage> {
    const pages: VersionPage[] = [];
    let next = fromObjectIndex;
    let wanted = limit;
    while (wanted > 0) {
      const page = await this.#cold(operations.listVersionsOperation, {
        layerId,
        fromObjectIndex: next,
        limit: Math.min(wanted, VERSION_PAGE_MAX),
      });
      pages.push(page);
      wanted -= page.count;
      if (page.count < VERSION_PAGE_MAX) break;
      next = page.objectIndexes[page.count - 1]! + 1;
    }
    return joinPages(pages);
  }

  adoptEpoch(volumeId: number, epoch: number): Promise<void> {
    return this.#cold(operations.adoptEpochOperation, { volumeId, epoch });
  }

  removeLayer(layerId: number): Promise<void> {
    return this.#cold(operations.removeLayerOperation, { layerId });
  }

  copyObject(request: CopyRequest): Promise<CopyResult> {
    return this.#cold(operations.copyObjectOperation, request);
  }

  install(request: InstallRequest): Promise<void> {
    return this.#cold(operations.installOperation, request);
  }

  removeObject(request: ObjectKey & LeaseScope): Promise<void> {
    return this.#cold(operations.removeObjectOperation, request);
  }

  repair(request: RepairRequest): Promise<void> {
    return this.#cold(operations.repairOperation, request);
  }

  describeObject(key: ObjectKey, blockCount: number): Promise<ObjectDescription> {
    return this.#cold(operations.describeOperation, { key, blockCount });
  }

  space(): Promise<NodeSpace> {
    return this.#cold(operations.spaceOperation, undefined);
  }

  listLayers(): Promise<number[]> {
    return this.#cold(operations.listLayersOperation, undefined);
  }

  #cold<Request, Answered>(
    operation: operations.Operation<Request, Answered>,
    request: Request,
  ): Promise<Answered> {
    const message = operation.encodeRequest(request);
    let heldBytes = operation.extraBytes(request);
    for (const buffer of message.payload) heldBytes += buffer.length;
    const body = {
      name: 'cold' as const,
      operation: operation as operations.AnyOperation,
      request,
      message,
    };
    return this.#call(body, heldBytes, this.stats.other);
  }

  /** Hot path. */
  #call<Answered>(body: CallBody, heldBytes: number, stats: OperationStats): Promise<Answered> {
    if (this.#link.state === 'closed') {
      return Promise.reject(new DroverError('unavailable', `node ${this.nodeId}: closed`));
    }
    return this.#pipe.call(body, heldBytes, stats);
  }
}
