/**
 * One `drover gateway` process that a test can kill and freeze, and what it says over HTTP.
 */
import { join } from 'node:path';
import { ApiClient } from '../../server/cli/api-client.ts';
import { NODE_FLAGS } from '../../server/cli/node-flags.ts';
import type { ClusterStatus, VolumeCopies } from '../../server/http/status-api.ts';
import type { VerifyMessage } from '../../server/http/verify-stream.ts';
import { type RunningProgram, startProgram } from '../support/child-process.ts';
import { MAIN } from '../support/drover-server.ts';
import { NbdClient } from '../support/nbd-client.ts';
import type { TestScope } from '../support/temp-folder.ts';

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;
const ANSWER_LIMIT_MS = 60_000;

export interface GatewayOptions {
  readonly id: string;
  readonly folder: string;
  readonly control: string;
  readonly args?: readonly string[];
}

export class GatewayProcess {
  readonly id: string;
  readonly program: RunningProgram;
  readonly httpUrl: string;
  readonly socketPath: string;

  /** Waits until it is ready; `whileStarting` runs before. */
  static async start(
    t: TestScope,
    options: GatewayOptions,
    whileStarting?: (program: RunningProgram) => Promise<void>,
  ): Promise<GatewayProcess> {
    const socketPath = join(options.folder, `${options.id}.sock`);
    const program = startProgram(t, process.execPath, [
      ...[...NODE_FLAGS, MAIN, 'gateway', '--id', options.id, '--control', options.control],
      ...['--nbd', `unix:${socketPath}`, '--http', '127.0.0.1:0', '--cache', '64M'],
      ...(options.args ?? []),
    ]);
    await whileStarting?.(program);
    await program.printed(/drover is ready/, START_LIMIT_MS);
    const http = program.stdout.match(/http:\/\/127\.0\.0\.1:\d+/);
    if (http === null) throw program.failure('did not print its address');
    return new GatewayProcess(options.id, program, http[0], socketPath);
  }

  private constructor(id: string, program: RunningProgram, httpUrl: string, socketPath: string) {
    this.id = id;
    this.program = program;
    this.httpUrl = httpUrl;
    this.socketPath = socketPath;
  }

  attach(volume = 'disk0', structured = true): Promise<NbdClient> {
    return NbdClient.attach({ kind: 'unix', path: this.socketPath }, volume, { structured });
  }

  uri(volume = 'disk0'): string {
    return `nbd+unix:///${volume}?socket=${this.socketPath}`;
  }

  async kill(): Promise<void> {
    this.program.kill('SIGKILL');
    await this.program.ended(STOP_LIMIT_MS);
  }

  async stop(): Promise<void> {
    this.program.kill('SIGTERM');
    const { code } = await this.program.ended(STOP_LIMIT_MS);
    if (code !== 0) throw this.program.failure('did not stop cleanly');
  }

  async get<T>(path: string, request: RequestInit = {}): Promise<T> {
    const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
    const response = await fetch(`${this.httpUrl}${path}`, { signal, ...request });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  status(): Promise<ClusterStatus> {
    return this.get('/v1/status');
  }

  async volume(name = 'disk0'): Promise<VolumeCopies> {
    const { volumes } = await this.status();
    const found = volumes.find((volume) => volume.name === name);
    if (found === undefined) throw new Error(`no volume ${name}`);
    return found;
  }

  verify(name = 'disk0', isDeep = true): Promise<VerifyMessage> {
    return new ApiClient(new URL(this.httpUrl)).verify(name, isDeep);
  }

  /** The sum of a metric's samples whose labels match. */
  async metric(name: string, labels = ''): Promise<number> {
    return metricOf(this.httpUrl, name, labels);
  }
}

/** The sum of the samples of `name` whose line contains `labels`. */
export async function metricOf(httpUrl: string, name: string, labels = ''): Promise<number> {
  const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
  const text = await (await fetch(`${httpUrl}/metrics`, { signal })).text();
  const samples = text.split('\n').filter((line) => /^[a-z_]+/.exec(line)?.[0] === name);
  const matching = samples.filter((line) => line.includes(labels));
  return matching.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}
