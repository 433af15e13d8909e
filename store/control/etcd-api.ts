/**
 * The part of etcd's gRPC interface (v3) that the control plane uses.
 *
 * Owns: messages and methods, with the field numbers of etcd's `rpc.proto` and `kv.proto`. Does not
 * own calls. 64-bit numbers are decimal strings: lease ids use all their bits.
 */
import { strict as assert } from 'node:assert';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';

export interface KeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly mod_revision: string;
}

interface ResponseHeader {
  readonly revision: string;
}

export interface RangeRequest {
  readonly key: Buffer;
  /** All keys from `key` up to this one; without it, just `key`. */
  readonly range_end?: Buffer;
  readonly keys_only?: boolean;
}

export interface RangeResponse {
  readonly header: ResponseHeader;
  readonly kvs: readonly KeyValue[];
}

export type RequestOp =
  | { readonly request_put: { key: Buffer; value: Buffer; lease?: string } }
  | { readonly request_delete_range: { key: Buffer } }
  | { readonly request_range: RangeRequest };

export interface TxnRequest {
  readonly compare: readonly {
    readonly key: Buffer;
    readonly target: 'MOD';
    readonly result: 'EQUAL';
    readonly mod_revision: string;
  }[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}

export interface TxnResponse {
  readonly header: ResponseHeader;
  readonly succeeded: boolean;
  readonly responses: readonly { readonly response_range?: RangeResponse }[];
}

export interface WatchRequest {
  readonly create_request: {
    readonly key: Buffer;
    readonly range_end: Buffer;
    readonly start_revision: string;
  };
}

export interface WatchResponse {
  readonly created: boolean;
  readonly canceled: boolean;
  readonly cancel_reason: string;
  readonly compact_revision: string;
  readonly events: readonly { readonly type: 'PUT' | 'DELETE'; readonly kv: KeyValue }[];
}

/** `TTL` is in seconds; 0 in an answer means that the lease is no more. */
export interface LeaseAnswer {
  readonly ID: string;
  readonly TTL: string;
}

const field = (type: string, id: number) => ({ type, id });
const repeated = (type: string, id: number) => ({ rule: 'repeated', type, id });
const header = field('ResponseHeader', 1);
const keyed = { key: field('bytes', 1) };
const leaseFields = { ID: field('int64', 1) };
const leaseAnswerFields = { header, ID: field('int64', 2), TTL: field('int64', 3) };

const messages = {
  ResponseHeader: { fields: { revision: field('int64', 3) } },
  KeyValue: {
    fields: { ...keyed, mod_revision: field('int64', 3), value: field('bytes', 5) },
  },
  EventType: { values: { PUT: 0, DELETE: 1 } },
  Event: { fields: { type: field('EventType', 1), kv: field('KeyValue', 2) } },
  RangeRequest: {
    fields: { ...keyed, range_end: field('bytes', 2), keys_only: field('bool', 8) },
  },
  RangeResponse: { fields: { header, kvs: repeated('KeyValue', 2) } },
  PutRequest: { fields: { ...keyed, value: field('bytes', 2), lease: field('int64', 3) } },
  PutResponse: { fields: { header } },
  DeleteRangeRequest: { fields: keyed },
  DeleteRangeResponse: { fields: { header } },
  RequestOp: {
    oneofs: { request: { oneof: ['request_range', 'request_put', 'request_delete_range'] } },
    fields: {
      request_range: field('RangeRequest', 1),
      request_put: field('PutRequest', 2),
      request_delete_range: field('DeleteRangeRequest', 3),
    },
  },
  ResponseOp: {
    oneofs: { response: { oneof: ['response_range', 'response_put', 'response_delete_range'] } },
    fields: {
      response_range: field('RangeResponse', 1),
      response_put: field('PutResponse', 2),
      response_delete_range: field('DeleteRangeResponse', 3),
    },
  },
  CompareResult: { values: { EQUAL: 0, GREATER: 1, LESS: 2, NOT_EQUAL: 3 } },
  CompareTarget: { values: { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3, LEASE: 4 } },
  Compare: {
    // A member of a oneof is sent even when it is 0, which is what "does not exist" compares with.
    oneofs: { target_union: { oneof: ['mod_revision'] } },
    fields: {
      result: field('CompareResult', 1),
      target: field('CompareTarget', 2),
      key: field('bytes', 3),
      mod_revision: field('int64', 6),
    },
  },
  TxnRequest: {
    fields: {
      compare: repeated('Compare', 1),
      success: repeated('RequestOp', 2),
      failure: repeated('RequestOp', 3),
    },
  },
  TxnResponse: {
    fields: { header, succeeded: field('bool', 2), responses: repeated('ResponseOp', 3) },
  },
  WatchCreateRequest: {
    fields: { ...keyed, range_end: field('bytes', 2), start_revision: field('int64', 3) },
  },
  WatchRequest: {
    oneofs: { request_union: { oneof: ['create_request'] } },
    fields: { create_request: field('WatchCreateRequest', 1) },
  },
  WatchResponse: {
    fields: {
      header,
      created: field('bool', 3),
      canceled: field('bool', 4),
      compact_revision: field('int64', 5),
      cancel_reason: field('string', 6),
      events: repeated('Event', 11),
    },
  },
  LeaseGrantRequest: { fields: { TTL: field('int64', 1), ID: field('int64', 2) } },
  LeaseGrantResponse: { fields: leaseAnswerFields },
  LeaseRevokeRequest: { fields: leaseFields },
  LeaseRevokeResponse: { fields: { header } },
  LeaseKeepAliveRequest: { fields: leaseFields },
  LeaseKeepAliveResponse: { fields: leaseAnswerFields },
};

const call = (name: string) => ({
  requestType: `${name}Request`,
  responseType: `${name}Response`,
  comment: '',
});
const stream = (name: string) => ({ ...call(name), requestStream: true, responseStream: true });

const services = {
  KV: { methods: { Range: call('Range'), Txn: call('Txn') } },
  Watch: { methods: { Watch: stream('Watch') } },
  Lease: {
    methods: {
      LeaseGrant: call('LeaseGrant'),
      LeaseRevoke: call('LeaseRevoke'),
      LeaseKeepAlive: stream('LeaseKeepAlive'),
    },
  },
};

const definitions = fromJSON(
  { nested: { etcdserverpb: { nested: { ...messages, ...services } } } },
  { keepCase: true, longs: String, enums: String, defaults: true, arrays: true },
);

function methodOf<Request, Response>(
  service: string,
  method: string,
): MethodDefinition<Request, Response> {
  const definition = definitions[`etcdserverpb.${service}`] as ServiceDefinition | undefined;
  const found = definition?.[method];
  assert(found !== undefined, `etcd's ${service}.${method} is not declared`);
  return found as MethodDefinition<Request, Response>;
}

export const etcdMethods = {
  range: methodOf<RangeRequest, RangeResponse>('KV', 'Range'),
  txn: methodOf<TxnRequest, TxnResponse>('KV', 'Txn'),
  watch: methodOf<WatchRequest, WatchResponse>('Watch', 'Watch'),
  leaseGrant: methodOf<{ TTL: string }, LeaseAnswer>('Lease', 'LeaseGrant'),
  leaseRevoke: methodOf<{ ID: string }, unknown>('Lease', 'LeaseRevoke'),
  leaseKeepAlive: methodOf<{ ID: string }, LeaseAnswer>('Lease', 'LeaseKeepAlive'),
} as const;
