/**
 * What a process tells the others of the volumes that it holds and that lack copies, so that
 * `drover status` shows the progress of a resync whomever it asks.
 *
 * Owns: one record for each process, bound to its session, and when it is written. Does not own
 * what others make of it: it is for people, and nothing is decided by it.
 * Cost: nothing while all copies are in sync; otherwise one write every `REPORT_MS` at most, of
 * 64 volumes with about 600 bytes each: 40 KiB, as much as the records of 60 store nodes.
 */
import { z } from 'zod';
import type {
  ControlPlane,
  ControlRecord,
  ControlSession,
} from '../../../store/control/control-plane.ts';
import type { SessionKeeper } from '../../../store/control/session-keeper.ts';
import type { ReplicationStatus } from '../../../store/replication/replication-status.ts';
import type { Clock, TimerHandle } from '../../../store/runtime/clock.ts';
import { DroverError, describeError } from '../../../store/runtime/drover-error.ts';
import type { Logger } from '../../../store/runtime/logger.ts';
import { type HeldCopies, heldCopiesSchema } from '../../http/status-api.ts';
import { heldCopies } from '../volume-copies.ts';

export const HOLDER_REPORTS_PREFIX = 'holder-reports/';

const REPORT_MS = 3_000;
const REPORTED_VOLUMES_MAX = 64;

const reportSchema = z.array(heldCopiesSchema);

/** Holders' names are no keys: a steward's has spaces. */
function reportKey(holderId: string): string {
  return `${HOLDER_REPORTS_PREFIX}${encodeURIComponent(holderId)}`;
}

/** What the records tell; one that cannot be understood tells nothing. */
export function reportedCopies(records: readonly ControlRecord[]): HeldCopies[] {
  return records.flatMap(({ value }) => reportSchema.safeParse(value).data ?? []);
}

export interface HolderReportOptions {
  readonly holderId: string;
  readonly control: Pick<ControlPlane, 'commit'>;
  readonly sessions: Pick<SessionKeeper, 'current'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** The volumes whose lease this process has. */
  readonly held: () => readonly { readonly replication: { status(): ReplicationStatus } }[];
}

export class HolderReport {
  readonly #options: HolderReportOptions;
  #timer: TimerHandle | undefined;
  #isStopped = false;
  #telling: Promise<void> | undefined;
  /** What the record holds, and the session that it is bound to. */
  #told = '[]';
  #toldUnder: ControlSession | undefined;

  constructor(options: HolderReportOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#isStopped) return;
    this.#timer = this.#options.clock.setTimer(REPORT_MS, () => {
      this.#telling = this.#tellOrWait().finally(() => this.start());
    });
  }

  /** Resolves when nothing is written any more; the record ends with the session. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#telling;
  }

  async #tellOrWait(): Promise<void> {
    try {
      await this.#tell();
    } catch (error) {
      if (!(error instanceof DroverError)) throw error;
      this.#options.log.debug({ reason: describeError(error) }, 'cannot report on copies now');
    }
  }

  async #tell(): Promise<void> {
    const { holderId, control, sessions } = this.#options;
    const report = this.#report();
    const text = JSON.stringify(report);
    if (report.length === 0 && this.#told === '[]') return;
    const session = await sessions.current();
    if (text === this.#told && session === this.#toldUnder) return;
    const key = reportKey(holderId);
    // If this is not answered it may have happened, so the next round writes again.
    this.#toldUnder = undefined;
    await control.commit(
      report.length === 0
        ? { expect: [], remove: [key] }
        : { expect: [], put: [{ key, value: report, session }] },
    );
    this.#told = text;
    this.#toldUnder = session;
  }

  #report(): HeldCopies[] {
    const { held, holderId } = this.#options;
    const statuses = held().map(({ replication }) => replication.status());
    return statuses
      .filter(({ inSync, copies, areWritesServed }) => inSync < copies || !areWritesServed)
      .slice(0, REPORTED_VOLUMES_MAX)
      .map((status) => heldCopies(holderId, status));
  }
}
