/**
 * The road from one gateway to one simulated node, with the manners of a peer client: calls arrive
 * in order, answers come in any order, what was not answered is sent again after a reconnection,
 * and what was abandoned is rejected.
 *
 * A request that had reached the node before the connection was lost may still be run there, once,
 * late: a real node may have it in its socket or its queue.
 */
import type { ReplicaNode } from '../../../../store/engine/replica-node.ts';
import type { ReplicaLink } from '../../../../store/replication/replica-link.ts';
import { DroverError } from '../../../../store/runtime/drover-error.ts';
import type { SeededRandom } from '../../../support/seeded-random.ts';
import type { SimClock } from './sim-clock.ts';
import type { SimNode } from './sim-node.ts';

interface Call {
  readonly madeMs: number;
  readonly run: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export interface SimDelays {
  readonly requestMsMax: number;
  readonly answerMsMax: number;
}

export class SimLink implements ReplicaLink {
  readonly nodeId: string;
  readonly node: ReplicaNode;
  readonly mayUsePayloadLater = false;
  delays: SimDelays = { requestMsMax: 1, answerMsMax: 1 };
  readonly #target: SimNode;
  readonly #nodes: ReadonlyMap<string, SimNode>;
  readonly #gatewayClock: SimClock;
  readonly #worldClock: SimClock;
  readonly #random: SeededRandom;
  #calls: Call[] = [];
  /** Runs that arrived while the node was frozen. */
  #frozen: (() => void)[] = [];
  #connection = 0;
  #isCut = false;
  #lastArrivalMs = 0;
  #downSinceMs: number | undefined;
  #lastAnswerMs = 0;

  constructor(
    target: SimNode,
    nodes: ReadonlyMap<string, SimNode>,
    gatewayClock: SimClock,
    worldClock: SimClock,
    random: SeededRandom,
  ) {
    this.nodeId = target.nodeId;
    this.#target = target;
    this.#nodes = nodes;
    this.#gatewayClock = gatewayClock;
    this.#worldClock = worldClock;
    this.#random = random;
    if (!target.isUp) this.#downSinceMs = worldClock.nowMs();
    this.node = this.#makeNode();
  }

  directoryId(): string | undefined {
    return this.#target.directoryId;
  }

  openId(): string | undefined {
    return `${this.#target.openCount}`;
  }

  isUp(): boolean {
    return this.#target.isUp && !this.#isCut;
  }

  refusedSinceMs(): number | undefined {
    return this.#target.isUp ? undefined : this.#downSinceMs;
  }

  silentSinceMs(): number | undefined {
    const oldest = this.#calls[0]?.madeMs;
    return oldest === undefined ? undefined : Math.max(oldest, this.#lastAnswerMs);
  }

  abandon(reason: string): void {
    this.#connection += 1;
    for (const call of this.#calls.splice(0)) {
      call.reject(new DroverError('unavailable', `abandoned: ${reason}`));
    }
  }

  cut(): void {
    this.#isCut = true;
    this.#connection += 1;
  }

  heal(): void {
    if (!this.#isCut) return;
    this.#isCut = false;
    this.#reconnect();
  }

  /** The node was killed: its connections are gone, and so is what it had not begun. */
  onNodeDown(): void {
    this.#downSinceMs = this.#worldClock.nowMs();
    this.#connection += 1;
    this.#frozen = [];
  }

  onNodeUp(): void {
    this.#downSinceMs = undefined;
    this.#reconnect();
  }

  onNodeThawed(): void {
    for (const run of this.#frozen.splice(0)) run();
  }

  #reconnect(): void {
    if (!this.isUp()) return;
    this.#connection += 1;
    for (const call of this.#calls) this.#send(call);
  }

  #call<T>(run: () => T): Promise<T> {
    return new Promise<unknown>((resolve, reject) => {
      const call: Call = { madeMs: this.#worldClock.nowMs(), run, resolve, reject };
      this.#calls.push(call);
      if (this.isUp()) this.#send(call);
    }) as Promise<T>;
  }

  #send(call: Call): void {
    const connection = this.#connection;
    const nowMs = this.#worldClock.nowMs();
    const arrivalMs = Math.max(
      this.#lastArrivalMs,
      nowMs + this.#random.fraction() * this.delays.requestMsMax,
    );
    this.#lastArrivalMs = arrivalMs;
    this.#worldClock.setTimer(arrivalMs - nowMs, () => {
      const isStale = connection !== this.#connection;
      if (!this.#target.isUp || (isStale && this.#random.chance(0.7))) return;
      const arrive = () => this.#arrive(call, connection);
      if (this.#target.isFrozen) this.#frozen.push(arrive);
      else arrive();
    });
  }

  #arrive(call: Call, connection: number): void {
    let answer: () => void;
    try {
      const value = call.run();
      answer = () => call.resolve(value);
    } catch (error) {
      if (!(error instanceof DroverError)) throw error;
      answer = () => call.reject(error);
    }
    this.#gatewayClock.setTimer(this.#random.fraction() * this.delays.answerMsMax, () => {
      if (connection !== this.#connection || this.#isCut || this.#target.isFrozen) {
        if (connection === this.#connection && this.#target.isFrozen) {
          this.#frozen.push(() => this.#settle(call, answer));
        }
        return;
      }
      this.#settle(call, answer);
    });
  }

  #settle(call: Call, answer: () => void): void {
    const at = this.#calls.indexOf(call);
    if (at < 0) return;
    this.#calls.splice(at, 1);
    this.#lastAnswerMs = this.#worldClock.nowMs();
    answer();
  }

  #makeNode(): ReplicaNode {
    const node = this.#target;
    return {
      nodeId: node.nodeId,
      write: (request) => {
        const payload = request.payload.map((buffer) => Buffer.from(buffer));
        return this.#call(() => node.write({ ...request, payload }));
      },
      read: (request, into) => this.#read(request, into),
      map: (key, blockCount) => this.#call(() => node.describeObject(key, blockCount).kinds),
      listVersions: (layerId, from, limit) =>
        this.#call(() => node.listVersions(layerId, from, limit)),
      adoptEpoch: (volumeId, epoch) => this.#call(() => node.adoptEpoch(volumeId, epoch)),
      removeLayer: (layerId) => this.#call(() => node.removeLayer(layerId)),
      copyObject: (request) =>
        this.#call(() => {
          const source = this.#nodes.get(request.sourceNodeId);
          const isAway = source?.isUp !== true || source.isFrozen;
          return node.copyObject(request, isAway ? undefined : source);
        }),
      install: (request) => this.#call(() => node.install(request)),
      removeObject: (request) => this.#call(() => node.removeObject(request)),
      repair: (request) => this.#call(() => node.repair(request)),
      describeObject: (key, blockCount) => this.#call(() => node.describeObject(key, blockCount)),
      space: () => this.#call(() => node.space()),
      listLayers: () => this.#call(() => node.listLayers()),
    };
  }

  /** The bytes reach the caller's buffers when the answer does, and not after the call settled. */
  async #read(
    request: Parameters<ReplicaNode['read']>[0],
    into: readonly Buffer[],
  ): ReturnType<ReplicaNode['read']> {
    const { result, bytes } = await this.#call(() => {
      const bytes = into.map((buffer) => Buffer.alloc(buffer.length));
      return { result: this.#target.read(request, bytes), bytes };
    });
    let block = 0;
    for (const [at, buffer] of into.entries()) {
      for (let start = 0; start < buffer.length; start += 4096, block++) {
        if (result.kinds[block] === 2) bytes[at]!.copy(buffer, start, start, start + 4096);
      }
    }
    return result;
  }
}
