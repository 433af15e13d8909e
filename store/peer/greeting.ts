/**
 * Who speaks to whom, in which version: the first message of a connection and its answer.
 *
 * Owns: encoding and decoding both, and the decision. Does not own: the security of the stream
 * below, which has done its part before the first byte arrives here; the credential is the place
 * for what a peer shows beyond that, and is empty for now.
 */
import { DroverError } from '../runtime/drover-error.ts';
import * as layouts from './cold-layouts.ts';
import { CREDENTIAL_BYTES_MAX, type InFlightLimits, NAME_BYTES_MAX } from './limits.ts';
import { PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from './wire.ts';

export const PeerRole = { gateway: 1, storeNode: 2, tool: 3 } as const;
export type PeerRole = (typeof PeerRole)[keyof typeof PeerRole];

export const CLIENT_ID_BYTES = 16;

export interface Hello {
  readonly versionMin: number;
  readonly versionMax: number;
  readonly role: PeerRole;
  readonly clusterId: string;
  /** For logs: what the client calls itself. */
  readonly ownName: string;
  readonly wantedNodeId: string;
  /** Of one client object in one process; unpredictable. */
  readonly clientId: Buffer;
  readonly connectionNumber: number;
  readonly credential: Buffer;
}

/** Who answers under a node's address. */
export interface NodeIdentity {
  /** The node's name in volume records. */
  readonly nodeId: string;
  /** Of the data directory: another one holds nothing of what was written to the node. */
  readonly directoryId: string;
  /** Another one each time the node is opened: it may have lost what was not durable. */
  readonly openId: string;
}

export interface Welcome extends InFlightLimits, NodeIdentity {
  readonly version: number;
}

function nameBytes(name: string): Buffer {
  const bytes = Buffer.from(name, 'utf8');
  if (bytes.length > NAME_BYTES_MAX) {
    throw new DroverError('invalid', `${name} is longer than ${NAME_BYTES_MAX} bytes`);
  }
  return bytes;
}

export function encodeHello(hello: Hello): Buffer {
  const cluster = nameBytes(hello.clusterId);
  const own = nameBytes(hello.ownName);
  const wanted = nameBytes(hello.wantedNodeId);
  const fixed = layouts.encode(layouts.hello, {
    versionMin: hello.versionMin,
    versionMax: hello.versionMax,
    role: hello.role,
    reserved: 0,
    connectionNumber: hello.connectionNumber,
    clientId: hello.clientId,
    clusterBytes: cluster.length,
    ownNameBytes: own.length,
    wantedNodeBytes: wanted.length,
    reserved2: 0,
    credentialBytes: hello.credential.length,
  });
  return Buffer.concat([fixed, cluster, own, wanted, hello.credential]);
}

/** Error: `invalid`. Copies what it keeps. */
export function decodeHello(meta: Buffer): Hello {
  const fields = layouts.decodeFront(layouts.hello, meta);
  const { clusterBytes, ownNameBytes, wantedNodeBytes, credentialBytes } = fields;
  const namesEnd = layouts.hello.span + clusterBytes + ownNameBytes + wantedNodeBytes;
  const longest = Math.max(clusterBytes, ownNameBytes, wantedNodeBytes);
  if (
    longest > NAME_BYTES_MAX ||
    credentialBytes > CREDENTIAL_BYTES_MAX ||
    meta.length !== namesEnd + credentialBytes
  ) {
    throw new DroverError('invalid', 'a greeting whose lengths do not add up');
  }
  if (!Object.values<number>(PeerRole).includes(fields.role)) {
    throw new DroverError('invalid', `unknown role ${fields.role}`);
  }
  const ownAt = layouts.hello.span + clusterBytes;
  const wantedAt = ownAt + ownNameBytes;
  return {
    versionMin: fields.versionMin,
    versionMax: fields.versionMax,
    role: fields.role as PeerRole,
    clusterId: meta.toString('utf8', layouts.hello.span, ownAt),
    ownName: meta.toString('utf8', ownAt, wantedAt),
    wantedNodeId: meta.toString('utf8', wantedAt, namesEnd),
    clientId: Buffer.from(fields.clientId),
    connectionNumber: fields.connectionNumber,
    credential: Buffer.from(meta.subarray(namesEnd)),
  };
}

export function encodeWelcome(welcome: Welcome): Buffer {
  const node = nameBytes(welcome.nodeId);
  const directory = nameBytes(welcome.directoryId);
  const open = nameBytes(welcome.openId);
  const fixed = layouts.encode(layouts.welcome, {
    version: welcome.version,
    nodeBytes: node.length,
    directoryBytes: directory.length,
    openBytes: open.length,
    reserved: 0,
    reserved2: 0,
    requestsMax: welcome.requestsMax,
    heldBytesMax: welcome.heldBytesMax,
  });
  return Buffer.concat([fixed, node, directory, open]);
}

/** Error: `invalid`. */
export function decodeWelcome(meta: Buffer): Welcome {
  const fields = layouts.decodeFront(layouts.welcome, meta);
  const directoryAt = layouts.welcome.span + fields.nodeBytes;
  const openAt = directoryAt + fields.directoryBytes;
  if (meta.length !== openAt + fields.openBytes || fields.requestsMax === 0) {
    throw new DroverError('invalid', 'a welcome that does not add up');
  }
  return {
    version: fields.version,
    nodeId: meta.toString('utf8', layouts.welcome.span, directoryAt),
    directoryId: meta.toString('utf8', directoryAt, openAt),
    openId: meta.toString('utf8', openAt),
    requestsMax: fields.requestsMax,
    heldBytesMax: fields.heldBytesMax,
  };
}

/**
 * The newest version that both speak. Error: `invalid`, with a message for the client's log, if
 * there is none, or the client looks for another node or cluster.
 */
export function negotiate(hello: Hello, nodeId: string, clusterId: string): number {
  if (hello.clusterId !== clusterId) {
    throw new DroverError('invalid', `this is cluster ${clusterId}, not ${hello.clusterId}`);
  }
  if (hello.wantedNodeId !== nodeId) {
    throw new DroverError('invalid', `this is node ${nodeId}, not ${hello.wantedNodeId}`);
  }
  const version = Math.min(hello.versionMax, PROTOCOL_VERSION_MAX);
  if (version < PROTOCOL_VERSION_MIN || version < hello.versionMin) {
    throw new DroverError(
      'invalid',
      `peer protocol ${hello.versionMin} to ${hello.versionMax} asked for; ` +
        `node ${nodeId} speaks ${PROTOCOL_VERSION_MIN} to ${PROTOCOL_VERSION_MAX}`,
    );
  }
  return version;
}
