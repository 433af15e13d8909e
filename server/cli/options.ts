/**
 * How every option is declared: a flag, its environment variable, and a schema that judges it.
 *
 * Owns the rule that `--some-name` is also `DROVER_SOME_NAME`, and that a bad value is answered by
 * one line with the option or variable, the value, and what is allowed.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';

function environmentName(flags: string): string {
  const longName = flags.match(/--([a-z-]+)/)![1]!;
  return `DROVER_${longName.replaceAll('-', '_').toUpperCase()}`;
}

/** The value as the schema makes it; throws what commander prints with the option's name. */
function judged<T>(schema: z.ZodType<T>, text: string): T {
  const result = schema.safeParse(text);
  if (result.success) return result.data;
  throw new InvalidArgumentError(`Allowed: ${result.error.issues[0]!.message}.`);
}

/** A reader of one argument of a command, for commander. */
export function argument<T>(schema: z.ZodType<T>): (text: string) => T {
  return (text) => judged(schema, text);
}

/** An option with one value; the last one given counts. */
export function valueOption<T>(flags: string, description: string, schema: z.ZodType<T>): Option {
  const option = new Option(flags, description).env(environmentName(flags));
  return option.argParser((text: string) => judged(schema, text));
}

/** An option that may be given again, and takes several values at once with commas between. */
export function listOption<T>(flags: string, description: string, schema: z.ZodType<T>): Option {
  const option = new Option(flags, description).env(environmentName(flags));
  return option.argParser((text: string, before: readonly T[] | undefined) => [
    ...(before ?? []),
    ...text.split(',').map((one) => judged(schema, one.trim())),
  ]);
}

const switchSchema = z.enum(['1', 'true', 'yes', '0', 'false', 'no']);

/**
 * An option without a value. Commander takes any value of the variable for yes, `0` included, so
 * the variable is read by `switchValue`.
 */
export function switchOption(flags: string, description: string): Option {
  return new Option(flags, `${description} (env: ${environmentName(flags)})`);
}

/** Whether a switch is on, by its flag or its variable. */
export function switchValue(command: Command, name: string): boolean {
  if (command.getOptionValue(name) === true) return true;
  const flags = command.options.find((option) => option.attributeName() === name)!.flags;
  const variable = environmentName(flags);
  const text = process.env[variable];
  if (text === undefined || text === '') return false;
  const value = switchSchema.safeParse(text);
  if (!value.success) {
    const allowed = switchSchema.options.join(', ');
    command.error(
      `error: option '${flags}' value '${text}' from env '${variable}' is invalid. Allowed: ${allowed}.`,
    );
  }
  return value.data === '1' || value.data === 'true' || value.data === 'yes';
}
