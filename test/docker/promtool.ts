/**
 * Prometheus' own judgement of rules and expressions, through `promtool`.
 *
 * Owns: the unit tests as `promtool test rules` reads them (JSON, which is YAML), and the clock of
 * their story: well until `BAD_MIN`, bad until `WELL_AGAIN_MIN`, well until `END_MIN`.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../support/child-process.ts';
import { type TestScope, temporaryFolder } from '../support/temp-folder.ts';

const LIMIT_MS = 60_000;
const SAMPLES_PER_MIN = 2;

export const CHECKOUT = join(import.meta.dirname, '..', '..');
export const ALERTS_FILE = join(CHECKOUT, 'docker', 'prometheus', 'alerts.yml');

export const BAD_MIN = 30;
export const WELL_AGAIN_MIN = 90;
export const END_MIN = 180;

/** One series of samples; `promtool` takes them from the start of the story, two a minute. */
export interface InputSeries {
  readonly series: string;
  readonly values: string;
}

function steady(value: number, minutes: number): string {
  return `${value}+0x${minutes * SAMPLES_PER_MIN - 1}`;
}

export function gauge(series: string, well: number, bad: number): InputSeries {
  const phases = [
    steady(well, BAD_MIN),
    steady(bad, WELL_AGAIN_MIN - BAD_MIN),
    steady(well, END_MIN - WELL_AGAIN_MIN),
  ];
  return { series, values: phases.join(' ') };
}

/** Grows by so much with each sample: `well` when all is well, `bad` in the bad hour. */
export function counter(series: string, well: number, bad: number): InputSeries {
  const phases: string[] = [];
  let value = 0;
  for (const [growth, minutes] of [
    [well, BAD_MIN],
    [bad, WELL_AGAIN_MIN - BAD_MIN],
    [well, END_MIN - WELL_AGAIN_MIN],
  ] as const) {
    const samples = minutes * SAMPLES_PER_MIN;
    phases.push(`${value + growth}+${growth}x${samples - 1}`);
    value += growth * samples;
  }
  return { series, values: phases.join(' ') };
}

export interface ExpectedAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly summary: string;
}

/** Which alerts of one name fire at a time of the story. */
export interface Moment {
  readonly minute: number;
  readonly expected: readonly ExpectedAlert[];
}

/** Errors: the alerts are not as expected; promtool's comparison is in the message. */
export async function checkAlert(
  t: TestScope,
  alert: string,
  series: readonly InputSeries[],
  moments: readonly Moment[],
): Promise<void> {
  const tests = {
    rule_files: [ALERTS_FILE],
    evaluation_interval: '10s',
    tests: [
      {
        interval: `${60 / SAMPLES_PER_MIN}s`,
        input_series: series,
        alert_rule_test: moments.map(({ minute, expected }) => ({
          eval_time: `${Math.round(minute * 60)}s`,
          alertname: alert,
          exp_alerts: expected.map(({ labels, summary }) => ({
            exp_labels: labels,
            exp_annotations: { summary },
          })),
        })),
      },
    ],
  };
  const file = join(await temporaryFolder(t), 'tests.json');
  await writeFile(file, JSON.stringify(tests));
  await run(LIMIT_MS, 'promtool', ['test', 'rules', file]);
}

/** Errors: one of the expressions is not PromQL. */
export async function checkExpressions(
  t: TestScope,
  expressions: readonly string[],
): Promise<void> {
  const rules = expressions.map((expr, index) => ({ record: `expression_${index}`, expr }));
  const file = join(await temporaryFolder(t), 'rules.json');
  await writeFile(file, JSON.stringify({ groups: [{ name: 'expressions', rules }] }));
  await run(LIMIT_MS, 'promtool', ['check', 'rules', file]);
}

export function promtool(...args: string[]): Promise<string> {
  return run(LIMIT_MS, 'promtool', args);
}
