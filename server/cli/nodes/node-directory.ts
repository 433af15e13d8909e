/**
 * The store nodes that are registered, followed through the control plane.
 *
 * Owns: the view. Does not own the connections to them (`peer-nodes.ts`).
 */
import type { ControlChange, ControlPlane } from '../../../store/control/control-plane.ts';
import type { Logger } from '../../../store/runtime/logger.ts';
import {
  NODE_SESSIONS_PREFIX,
  NODES_PREFIX,
  type NodeRecord,
  nodeRecordSchema,
} from './node-record.ts';

export interface NodeDirectoryOptions {
  readonly control: Pick<ControlPlane, 'watch' | 'list'>;
  readonly log: Logger;
  /** Told of each new or changed record. */
  readonly onRecord: (record: NodeRecord) => void;
}

export class NodeDirectory {
  readonly #options: NodeDirectoryOptions;
  readonly #records = new Map<string, NodeRecord>();
  readonly #revisions = new Map<string, number>();
  readonly #alive = new Set<string>();
  readonly #endWatches: (() => void)[] = [];

  constructor(options: NodeDirectoryOptions) {
    this.#options = options;
  }

  /** Error: `unavailable`. */
  async start(): Promise<void> {
    const { control } = this.#options;
    for (const prefix of [NODES_PREFIX, NODE_SESSIONS_PREFIX]) {
      // Watching before listing: what changes in between arrives as a change.
      const note = (change: ControlChange) => this.#note(change);
      this.#endWatches.push(await control.watch(prefix, note));
      for (const record of await control.list(prefix)) this.#note({ key: record.key, record });
    }
  }

  stop(): void {
    for (const end of this.#endWatches) end();
  }

  /** In the order of their names. */
  list(): NodeRecord[] {
    return [...this.#records.values()].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }

  /** Whether the node has a session. */
  isAlive(nodeId: string): boolean {
    return this.#alive.has(nodeId);
  }

  #note({ key, record }: ControlChange): void {
    const known = this.#revisions.get(key) ?? 0;
    if (record !== undefined && record.revision < known) return;
    if (record === undefined) this.#revisions.delete(key);
    else this.#revisions.set(key, record.revision);
    if (key.startsWith(NODE_SESSIONS_PREFIX)) {
      const nodeId = key.slice(NODE_SESSIONS_PREFIX.length);
      if (record === undefined) this.#alive.delete(nodeId);
      else this.#alive.add(nodeId);
      return;
    }
    const nodeId = key.slice(NODES_PREFIX.length);
    if (record === undefined) {
      this.#records.delete(nodeId);
      return;
    }
    const parsed = nodeRecordSchema.safeParse(record.value);
    if (!parsed.success) {
      this.#options.log.error({ key }, 'ignored a malformed node record');
      return;
    }
    this.#records.set(nodeId, parsed.data);
    this.#options.onRecord(parsed.data);
  }
}
