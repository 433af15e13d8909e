/**
 * The HTTP API as the command line calls it.
 *
 * Owns: requests, their time limit, and making every failure a CommandFailure of one line.
 */
import { z } from 'zod';
import { describeError } from '../../store/runtime/drover-error.ts';
import { errorBodySchema } from '../http/error-answers.ts';
import {
  type ClusterStatus,
  NODES_PATH,
  type NodeStatus,
  nodeListSchema,
  STATUS_PATH,
  statusSchema,
  type VerifyMessage,
  verifyReportSchema,
} from '../http/status-api.ts';
import {
  type CreateBody,
  VOLUMES_PATH,
  type VolumeStatus,
  volumeListSchema,
  volumeStatusSchema,
} from '../http/volume-api.ts';
import { CommandFailure } from './command-failure.ts';

/** Attaching and removing take their time. */
const ANSWER_MS_MAX = 60_000;
/** All copies are read; the answer comes at the end, and `fetch` waits no longer for its head. */
const VERIFY_MS_MAX = 290_000;

export class ApiClient {
  readonly #serverUrl: URL;

  constructor(serverUrl: URL) {
    this.#serverUrl = serverUrl;
  }

  async list(): Promise<VolumeStatus[]> {
    return (await this.#ask(volumeListSchema, 'GET', VOLUMES_PATH)).volumes;
  }

  show(name: string): Promise<VolumeStatus> {
    return this.#ask(volumeStatusSchema, 'GET', this.#path(name));
  }

  create(body: CreateBody): Promise<VolumeStatus> {
    return this.#ask(volumeStatusSchema, 'POST', VOLUMES_PATH, body);
  }

  resize(name: string, sizeBytes: number): Promise<VolumeStatus> {
    return this.#ask(volumeStatusSchema, 'PATCH', this.#path(name), { sizeBytes });
  }

  async remove(name: string, force: boolean): Promise<void> {
    await this.#ask(z.undefined(), 'DELETE', `${this.#path(name)}${force ? '?force=true' : ''}`);
  }

  status(): Promise<ClusterStatus> {
    return this.#ask(statusSchema, 'GET', STATUS_PATH);
  }

  async nodes(): Promise<NodeStatus[]> {
    return (await this.#ask(nodeListSchema, 'GET', NODES_PATH)).nodes;
  }

  verify(name: string, isDeep: boolean): Promise<VerifyMessage> {
    const path = `${this.#path(name)}/verify`;
    return this.#ask(verifyReportSchema, 'POST', path, { isDeep }, VERIFY_MS_MAX);
  }

  #path(name: string): string {
    return `${VOLUMES_PATH}/${encodeURIComponent(name)}`;
  }

  async #ask<T>(
    schema: z.ZodType<T>,
    method: string,
    path: string,
    body?: object,
    answerMsMax = ANSWER_MS_MAX,
  ): Promise<T> {
    const url = new URL(path, this.#serverUrl);
    const { ok, status, text } = await this.#exchange(url, method, body, answerMsMax);
    const message = parseJson(text);
    if (!ok) {
      const refusal = errorBodySchema.safeParse(message);
      throw new CommandFailure(
        refusal.success ? refusal.data.error.message : `${url} answered with status ${status}`,
      );
    }
    const answer = schema.safeParse(message);
    if (!answer.success) throw new CommandFailure(`${url} does not answer as Drover does`);
    return answer.data;
  }

  async #exchange(url: URL, method: string, body: object | undefined, answerMsMax: number) {
    try {
      const response = await fetch(url, {
        method,
        signal: AbortSignal.timeout(answerMsMax),
        ...(body === undefined
          ? {}
          : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      });
      return { ok: response.ok, status: response.status, text: await response.text() };
    } catch (error) {
      const reason = describeError(error);
      throw new CommandFailure(`no answer from ${this.#serverUrl.origin}: ${reason}`);
    }
  }
}

/** `undefined` for an empty answer, and for one that is no JSON: the schema judges it. */
function parseJson(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
