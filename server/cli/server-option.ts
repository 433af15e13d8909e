/**
 * Which running server a command talks to, and in which form it prints the answer.
 */
import type { Command } from 'commander';
import { z } from 'zod';
import { ApiClient } from './api-client.ts';
import { switchOption, switchValue, valueOption } from './options.ts';

const SERVER_DEFAULT = 'http://127.0.0.1:9809';

const serverSchema = z
  .url({ protocol: /^https?$/, error: 'a URL such as http://127.0.0.1:9809' })
  .transform((text) => new URL(text));

export function addServerOption(command: Command): Command {
  const server = valueOption('--server <url>', 'the running server', serverSchema);
  return command.addOption(server.default(new URL(SERVER_DEFAULT), SERVER_DEFAULT));
}

export function apiClient(command: Command): ApiClient {
  return new ApiClient(command.getOptionValue('server') as URL);
}

export function addJsonOption(command: Command): Command {
  return command.addOption(switchOption('--json', 'print JSON'));
}

/** Prints an answer as asked for; judged before anything is asked or changed. */
export function printer<T>(command: Command, format: (answer: T) => string): (answer: T) => void {
  if (switchValue(command, 'json')) return (answer) => console.log(JSON.stringify(answer, null, 2));
  return (answer) => console.log(format(answer));
}
