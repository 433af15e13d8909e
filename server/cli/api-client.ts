/**
 * The HTTP API as the command line calls it.
 *
 * Owns: requests, their time limit, and making every failure a CommandFailure of one line.
 */
import { z } from 'zod';
import { systemClock, type TimerHandle } from '../../store/runtime/clock.ts';
import { DroverError, describeError } from '../../store/runtime/drover-error.ts';
import { errorBodySchema } from '../http/error-answers.ts';
import {
  type ClusterStatus,
  NODES_PATH,
  type NodeStatus,
  nodeListSchema,
  STATUS_PATH,
  statusSchema,
} from '../http/status-api.ts';
import {
  VERIFY_LINE_MS,
  type VerifyMessage,
  type VerifyProgressMessage,
  verifyLineSchema,
} from '../http/verify-stream.ts';
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
/** A comparison that says nothing for so long is given up. */
const VERIFY_SILENCE_MS_MAX = 60 * VERIFY_LINE_MS;

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

  setReadOnly(name: string, isReadOnly: boolean): Promise<VolumeStatus> {
    return this.#ask(volumeStatusSchema, 'PATCH', this.#path(name), { isReadOnly });
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

  /** Takes as long as it takes; `onProgress` is called about every second. */
  async verify(
    name: string,
    isDeep: boolean,
    onProgress: (progress: VerifyProgressMessage | null) => void = () => undefined,
  ): Promise<VerifyMessage> {
    const url = new URL(`${this.#path(name)}/verify`, this.#serverUrl);
    const silence = new SilenceLimit(VERIFY_SILENCE_MS_MAX);
    try {
      const response = await fetch(url, requestOf('POST', { isDeep }, silence.signal));
      if (!response.ok) throw refusal(url, response.status, parseJson(await response.text()));
      for await (const text of linesOf(response)) {
        silence.heard();
        const line = verifyLineSchema.safeParse(parseJson(text));
        if (!line.success) throw notDrover(url);
        if ('error' in line.data) throw new CommandFailure(line.data.error.message);
        if ('report' in line.data) return line.data.report;
        onProgress(line.data.progress);
      }
      throw new CommandFailure(`${this.#serverUrl.origin} ended before the comparison did`);
    } catch (error) {
      throw this.#asFailure(error);
    } finally {
      silence.end();
    }
  }

  #path(name: string): string {
    return `${VOLUMES_PATH}/${encodeURIComponent(name)}`;
  }

  async #ask<T>(schema: z.ZodType<T>, method: string, path: string, body?: object): Promise<T> {
    const url = new URL(path, this.#serverUrl);
    try {
      const request = requestOf(method, body, AbortSignal.timeout(ANSWER_MS_MAX));
      const response = await fetch(url, request);
      const message = parseJson(await response.text());
      if (!response.ok) throw refusal(url, response.status, message);
      const answer = schema.safeParse(message);
      if (!answer.success) throw notDrover(url);
      return answer.data;
    } catch (error) {
      throw this.#asFailure(error);
    }
  }

  /** What `fetch` throws becomes a line; what is one already stays. */
  #asFailure(error: unknown): CommandFailure {
    if (error instanceof CommandFailure) return error;
    const reason = describeError(error);
    return new CommandFailure(`no answer from ${this.#serverUrl.origin}: ${reason}`);
  }
}

function requestOf(method: string, body: object | undefined, signal: AbortSignal): RequestInit {
  if (body === undefined) return { method, signal };
  const headers = { 'content-type': 'application/json' };
  return { method, signal, headers, body: JSON.stringify(body) };
}

function refusal(url: URL, status: number, message: unknown): CommandFailure {
  const body = errorBodySchema.safeParse(message);
  return new CommandFailure(
    body.success ? body.data.error.message : `${url} answered with status ${status}`,
  );
}

function notDrover(url: URL): CommandFailure {
  return new CommandFailure(`${url} does not answer as Drover does`);
}

/** The lines of an answer as they come. */
async function* linesOf(response: Response): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
}

/** Aborts when nothing was heard for `limitMs`. */
class SilenceLimit {
  readonly #limitMs: number;
  readonly #silent = new AbortController();
  #timer: TimerHandle | undefined;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#silent.signal;
  }

  heard(): void {
    this.#timer?.cancel();
    this.#timer = systemClock.setTimer(this.#limitMs, () => {
      const reason = `nothing was heard for ${this.#limitMs / 1000} s`;
      this.#silent.abort(new DroverError('unavailable', reason));
    });
  }

  end(): void {
    this.#timer?.cancel();
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
