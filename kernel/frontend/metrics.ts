/**
 * What `/metrics` prints: the families of the reference under their names (spec api.md 10), those of
 * the process and of Node, and whatever the rest of the kernel adds. The one door to prom-client.
 *
 * Parts of the kernel keep plain counters of their own; a family here reads them when it is scraped,
 * so that counting costs nothing on the path of a record. Only durations are observed as they happen.
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** A value with its labels, as a family reads it at a scrape. */
export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface FamilyOptions {
  /** Full name, in snake case, with its unit. */
  readonly name: string;
  readonly help: string;
  /** Names of the labels every sample has. */
  readonly labels?: readonly string[];
  readonly read: () => Iterable<Sample>;
}

export interface HistogramOptions {
  readonly name: string;
  readonly help: string;
  /** Upper bounds in seconds; default those of Prometheus, 0.005 to 10. */
  readonly bucketSeconds?: readonly number[];
}

/** Takes one observation, in seconds. */
export type Observe = (seconds: number) => void;

const DEFAULT_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const WRITE_BUCKETS = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1];
const PREFIX = 'alpaca_marketstore_';

export class Metrics {
  /** Every `/rpc` request, refused ones too. */
  readonly observeRequest: Observe;
  /** Writes that succeeded. */
  readonly observeWrite: Observe;
  readonly #registry = new Registry();
  readonly #calls: Histogram;
  #startupSeconds = 0;
  #webSocketCount = 0;
  #diskUsageBytes = 0;

  /** `process: false` leaves out the families of the process and of Node, which cost observers. */
  constructor({ process = true }: { readonly process?: boolean } = {}) {
    if (process) collectDefaultMetrics({ register: this.#registry });
    this.addGauge({
      name: `${PREFIX}startup_seconds`,
      help: 'Seconds from the start of the process until it answered.',
      read: () => [{ value: this.#startupSeconds }],
    });
    this.addGauge({
      name: `${PREFIX}ws_connections`,
      help: 'Open WebSocket connections.',
      read: () => [{ value: this.#webSocketCount }],
    });
    this.addGauge({
      name: `${PREFIX}total_disk_usage_bytes`,
      help: 'Bytes allocated below the root directory; holes do not count.',
      read: () => [{ value: this.#diskUsageBytes }],
    });
    this.observeRequest = this.addHistogram({
      name: `${PREFIX}rpc_total_request_duration_seconds`,
      help: 'Seconds per /rpc request, whatever its outcome.',
    });
    this.observeWrite = this.addHistogram({
      name: `${PREFIX}write_csm_duration_seconds`,
      help: 'Seconds per successful write.',
      bucketSeconds: WRITE_BUCKETS,
    });
    this.#calls = new Histogram({
      name: `${PREFIX}rpc_successful_request_duration_seconds`,
      help: 'Seconds per call that reached its method, failed ones too.',
      labelNames: ['method'],
      buckets: DEFAULT_BUCKETS,
      registers: [this.#registry],
    });
  }

  /** A call of `DataService.X` that was made. */
  observeCall(method: string, seconds: number): void {
    this.#calls.observe({ method }, seconds);
  }

  setStartupSeconds(seconds: number): void {
    this.#startupSeconds = seconds;
  }

  setWebSocketCount(count: number): void {
    this.#webSocketCount = count;
  }

  setDiskUsageBytes(bytes: number): void {
    this.#diskUsageBytes = bytes;
  }

  /** A family of values that go up and down. */
  addGauge({ name, help, labels = [], read }: FamilyOptions): void {
    new Gauge({
      name,
      help,
      labelNames: labels,
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const sample of read()) this.set(sample.labels ?? {}, sample.value);
      },
    });
  }

  /** A family of values that only grow; `read` gives totals. */
  addCounter({ name, help, labels = [], read }: FamilyOptions): void {
    new Counter({
      name,
      help,
      labelNames: labels,
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const sample of read()) this.inc(sample.labels ?? {}, sample.value);
      },
    });
  }

  /** A distribution of durations. */
  addHistogram({ name, help, bucketSeconds = DEFAULT_BUCKETS }: HistogramOptions): Observe {
    const histogram = new Histogram({
      name,
      help,
      buckets: [...bucketSeconds],
      registers: [this.#registry],
    });
    return (seconds) => histogram.observe(seconds);
  }

  /** Everything, in Prometheus text format 0.0.4. */
  print(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }
}
