/**
 * What a running Prometheus knows: targets, alerts, and the answers to queries.
 */
export interface Alert {
  readonly state: 'pending' | 'firing';
  readonly labels: Readonly<Record<string, string>>;
}

export interface Target {
  readonly health: string;
  readonly lastError: string;
  readonly scrapeUrl: string;
}

const ASK_LIMIT_MS = 10_000;

/** Errors: no answer within ten seconds, or one that is not a success. */
export async function getJson<T>(url: string): Promise<T> {
  const response = await fetch(url, { signal: AbortSignal.timeout(ASK_LIMIT_MS) });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

export class PrometheusApi {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async targets(): Promise<readonly Target[]> {
    const { data } = await getJson<{ data: { activeTargets: readonly Target[] } }>(
      `${this.#url}/api/v1/targets?state=active`,
    );
    return data.activeTargets;
  }

  /** Pending and firing alerts of this name. */
  async alerts(name: string): Promise<readonly Alert[]> {
    const { data } = await getJson<{ data: { alerts: readonly Alert[] } }>(
      `${this.#url}/api/v1/alerts`,
    );
    return data.alerts.filter((alert) => alert.labels['alertname'] === name);
  }

  /** How many series an expression has. Error: Prometheus cannot evaluate it. */
  async seriesCount(expression: string): Promise<number> {
    const { data } = await getJson<{ data: { result: readonly unknown[] } }>(
      `${this.#url}/api/v1/query?query=${encodeURIComponent(expression)}`,
    );
    return data.result.length;
  }
}
