/**
 * A store node's place in the control plane: its record, how far its log is, and its sign of
 * life.
 *
 * Owns: writing these, and writing them again when the control plane was away. Does not own what
 * others make of them.
 * Invariant: two processes never go on under one node id: whoever registers later takes it over,
 * and the earlier one is told (`onDeposed`).
 */
import { type ControlPlane, REVISION_NONE } from '../../../store/control/control-plane.ts';
import { directoryPut } from '../../../store/control/directory-history.ts';
import type { SessionKeeper } from '../../../store/control/session-keeper.ts';
import type { Engine } from '../../../store/engine/engine.ts';
import { type Clock, sleep } from '../../../store/runtime/clock.ts';
import { DroverError, describeError, isDroverError } from '../../../store/runtime/drover-error.ts';
import type { Logger } from '../../../store/runtime/logger.ts';
import type { NetworkAddress } from '../../../store/runtime/network.ts';
import {
  type NodeRecord,
  nodeKey,
  nodeRecordSchema,
  nodeSessionKey,
  nodeSessionSchema,
} from './node-record.ts';

/** The figures that others see are this old at most. */
const REFRESH_MS = 3_000;

export interface RegistrationOptions {
  readonly nodeId: string;
  readonly zone: string;
  readonly address: NetworkAddress;
  readonly engine: Engine;
  readonly control: ControlPlane;
  readonly sessions: SessionKeeper;
  readonly clock: Clock;
  readonly log: Logger;
  /** Another process has registered under this node id. */
  readonly onDeposed: (error: DroverError) => void;
}

export class Registration {
  readonly #options: RegistrationOptions;
  #isFirst = true;
  #isStopped = false;
  #isLate = false;
  #running: Promise<void> | undefined;
  readonly #stopped = Promise.withResolvers<void>();

  constructor(options: RegistrationOptions) {
    this.#options = options;
  }

  /** Registers, and goes on until `stop`. Errors: `unavailable`, `corrupt`. */
  async start(): Promise<void> {
    const { control, nodeId, engine, log } = this.#options;
    const found = await control.get(nodeKey(nodeId));
    const before = found && nodeRecordSchema.safeParse(found.value);
    if (before?.success === true && before.data.directoryId !== engine.directoryId) {
      log.warn({ node: nodeId }, 'this node comes with another data directory; it counts as empty');
    }
    await this.#tell();
    this.#isFirst = false;
    this.#running = this.#run();
  }

  /** Resolves when nothing is written any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopped.resolve();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, log, nodeId, onDeposed } = this.#options;
    while (!this.#isStopped) {
      await Promise.race([sleep(clock, REFRESH_MS), this.#stopped.promise]);
      if (this.#isStopped) return;
      try {
        await this.#tell();
        if (this.#isLate) log.info({ node: nodeId }, 'registered again');
        this.#isLate = false;
      } catch (error) {
        if (isDroverError(error, 'busy')) {
          onDeposed(error);
          return;
        }
        if (!(error instanceof DroverError)) throw error;
        if (!this.#isLate) {
          log.warn({ node: nodeId, reason: describeError(error) }, 'cannot register now');
        }
        this.#isLate = true;
      }
    }
  }

  /** Errors: `busy` if another process has taken over, `unavailable`. */
  async #tell(): Promise<void> {
    const { control, sessions, nodeId, engine } = this.#options;
    const session = await sessions.current();
    const key = nodeSessionKey(nodeId);
    const found = await control.get(key);
    const openId = found && nodeSessionSchema.safeParse(found.value).data?.openId;
    if (found !== undefined && openId !== engine.openId && !this.#isFirst) {
      throw new DroverError('busy', `another process has registered as node ${nodeId}`);
    }
    await control.commit({
      expect: [{ key, revision: found?.revision ?? REVISION_NONE }],
      put: [
        { key, value: { openId: engine.openId }, session },
        { key: nodeKey(nodeId), value: await this.#record() },
        directoryPut(engine.directoryState),
      ],
    });
  }

  async #record(): Promise<NodeRecord> {
    const { nodeId, zone, address, engine, clock } = this.#options;
    const { capacityBytes, liveBytes, freeBytes, objectCount } = await engine.space();
    return {
      ...{ nodeId, zone, address, directoryId: engine.directoryId },
      ...{ capacityBytes, liveBytes, freeBytes, objectCount },
      seenAt: new Date(clock.wallMs()).toISOString(),
      failure: engine.failure?.message ?? '',
    };
  }
}
