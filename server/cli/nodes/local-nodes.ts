/**
 * The store nodes of this process, one for each data directory, and their names.
 *
 * Owns: which directory has which name in volume records. A name belongs to the content of a
 * directory, wherever it lies; content that is new takes over the name of what was there before,
 * or of one that is not given any more: a disk that was replaced. So a volume's copies keep their
 * places, and a directory that lost its content is filled again under its old name.
 */
import { z } from 'zod';
import type { ControlPlane, ControlRecord } from '../../../store/control/control-plane.ts';
import { DirectoryHistory } from '../../../store/control/directory-history.ts';
import { newReplicaSet, type ReplicaSetRecord } from '../../../store/control/replica-set-record.ts';
import { placeVolume } from '../../../store/replication/placement.ts';
import type { ReplicaLink } from '../../../store/replication/replica-link.ts';
import { DroverError } from '../../../store/runtime/drover-error.ts';
import { isExpected, LocalNode, type LocalNodeOptions } from './local-node.ts';
import { minInSyncFor } from './min-in-sync.ts';

const LOCAL_NODES_PREFIX = 'local-nodes/';

const localNodeSchema = z.object({
  /** Where it was last, and what was in it. */
  path: z.string(),
  directoryId: z.string().optional(),
});

interface KnownNode {
  readonly name: string;
  readonly path: string;
  readonly directoryId: string | undefined;
}

export interface LocalNodesOptions
  extends Omit<
    LocalNodeOptions,
    'directory' | 'history' | 'resolve' | 'onUp' | 'hasCopies' | 'nodeCount'
  > {
  readonly control: ControlPlane;
  readonly directories: readonly string[];
  readonly copies: number;
  readonly minInSync: number | undefined;
  readonly onUp: (node: LocalNode) => void;
}

export class LocalNodes {
  readonly nodes: readonly LocalNode[];
  readonly #options: LocalNodesOptions;

  constructor(options: LocalNodesOptions) {
    this.#options = options;
    const { directories, copies, control } = options;
    const history = new DirectoryHistory(control);
    this.nodes = directories.map(
      (directory) =>
        new LocalNode({
          ...options,
          directory,
          history,
          hasCopies: copies > 1,
          nodeCount: directories.length,
          resolve: (name) => this.find(name)?.node,
          onUp: (node) => this.#onUp(node),
        }),
    );
  }

  /**
   * Opens all directories; those that cannot be used are left for later as long as one can.
   * Errors: `busy` and `invalid`, which are the operator's to put right, and the last one's own.
   */
  async open(): Promise<void> {
    const failures = await Promise.all(
      this.nodes.map((node) => node.open().then(() => undefined, asFailure)),
    );
    const fatal = failures.find((failure) => failure !== undefined && isFatal(failure.error));
    const isNoneUp = failures.every((failure) => failure !== undefined);
    if (fatal !== undefined || isNoneUp) throw (fatal ?? failures[0]!).error;
    await this.#name();
    for (const [index, failure] of failures.entries()) {
      if (failure !== undefined) this.nodes[index]!.giveUp(failure.error);
    }
    for (const node of this.nodes) {
      if (node.engine !== undefined) this.#options.onUp(node);
      node.watch();
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.close()));
  }

  find(name: string): LocalNode | undefined {
    return this.nodes.find((node) => node.name === name);
  }

  /** As replication asks for it; a node of a directory that is given no more is never up. */
  link(name: string): ReplicaLink | undefined {
    return this.find(name)?.link;
  }

  /** The copies of a new volume; on nodes that are up, as far as there are enough. */
  place(volumeId: number): ReplicaSetRecord {
    const { copies, minInSync } = this.#options;
    const up = this.nodes.filter((node) => node.state === 'up');
    const chosen = placeVolume(
      (up.length >= copies ? up : this.nodes).map(({ name, engine }) => ({
        nodeId: name,
        zone: name,
        capacityBytes: engine?.gauges().capacityBytes ?? 0,
      })),
      volumeId,
      copies,
    );
    return newReplicaSet(
      chosen.map((nodeId) => ({ nodeId, directoryId: this.find(nodeId)?.engine?.directoryId })),
      minInSyncFor(copies, minInSync),
    );
  }

  /** For volumes from a time when there was one copy on the only directory. */
  onlyCopy(): ReplicaSetRecord {
    const [first] = this.nodes;
    return newReplicaSet([{ nodeId: first!.name, directoryId: first!.engine?.directoryId }]);
  }

  /** While directories are opened for the first time their names are not known. */
  #onUp(node: LocalNode): void {
    if (node.name === '') return;
    this.#options.onUp(node);
  }

  async #name(): Promise<void> {
    const { control } = this.#options;
    const known = (await control.list(LOCAL_NODES_PREFIX)).map(knownNodeOf);
    const names = nameNodes(
      this.nodes.map(({ directory, engine }) => ({
        path: directory,
        directoryId: engine?.directoryId,
      })),
      known,
    );
    for (const [index, name] of names.entries()) {
      const node = this.nodes[index]!;
      node.name = name;
      const before = known.find((one) => one.name === name);
      const value = {
        path: node.directory,
        directoryId: node.engine?.directoryId ?? before?.directoryId,
      };
      await control.commit({ expect: [], put: [{ key: `${LOCAL_NODES_PREFIX}${name}`, value }] });
    }
  }
}

interface Failure {
  readonly error: unknown;
}

function asFailure(error: unknown): Failure {
  if (!isExpected(error)) throw error;
  return { error };
}

/** What would not get better by itself, or must not be got around. */
function isFatal(error: unknown): boolean {
  return error instanceof DroverError && (error.kind === 'busy' || error.kind === 'invalid');
}

function knownNodeOf({ key, value }: ControlRecord): KnownNode {
  const parsed = localNodeSchema.safeParse(value);
  if (!parsed.success) throw new DroverError('corrupt', `control record ${key} is malformed`);
  const { path, directoryId } = parsed.data;
  return { name: key.slice(LOCAL_NODES_PREFIX.length), path, directoryId };
}

/** A name for each directory, in their order. */
export function nameNodes(
  directories: readonly { readonly path: string; readonly directoryId: string | undefined }[],
  known: readonly KnownNode[],
): string[] {
  const names: (string | undefined)[] = directories.map(() => undefined);
  const left = new Set(known);
  const take = (index: number, node: KnownNode | undefined): void => {
    if (node === undefined || names[index] !== undefined) return;
    names[index] = node.name;
    left.delete(node);
  };
  for (const [index, { directoryId }] of directories.entries()) {
    if (directoryId === undefined) continue;
    take(
      index,
      [...left].find((node) => node.directoryId === directoryId),
    );
  }
  for (const [index, { path }] of directories.entries()) {
    take(
      index,
      [...left].find((node) => node.path === path),
    );
  }
  for (const index of directories.keys()) take(index, [...left][0]);
  let number = 0;
  for (const index of directories.keys()) {
    while (names[index] === undefined) {
      number += 1;
      const name = `node${number}`;
      if (!known.some((node) => node.name === name)) names[index] = name;
    }
  }
  return names as string[];
}
