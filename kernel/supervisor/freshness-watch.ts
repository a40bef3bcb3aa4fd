/**
 * Whether rows flow from the plugins that should send some: an entry's `freshness` says how long may
 * pass without one while its market is open. Main thread.
 *
 *   fresh ──no row for maxAgeMs of open time──▶ stale ──a row, or the market closes──▶ fresh
 *
 * Only time counts in which the plugin runs and the market is open. A bound shorter than a session
 * begins anew with each opening, since yesterday's last minutes say nothing of today; a longer one
 * adds sessions up. Steps are measured by a clock that never goes back and are at most two checks
 * long: a machine that slept has not waited.
 *
 * A heartbeat cannot tell this: a feeder whose venue fell silent is in the best of health.
 */

import { FRESHNESS_CHECK_MS } from '../base/limits.ts';
import type { MarketCalendar } from '../base/market-calendar.ts';

export interface Freshness {
  readonly maxAgeMs: number;
  readonly calendar: MarketCalendar;
}

export interface FreshnessWatchOptions {
  /** Rows taken from a plugin so far. */
  readonly rowsOf: (plugin: string) => number;
  /** Says why it is degraded, or with `undefined` that it no longer is for this reason. */
  readonly onVerdict: (plugin: string, reason: string | undefined) => void;
  /** Milliseconds, never going back. */
  readonly nowMs?: () => number;
  readonly epochSeconds?: () => number;
  readonly checkMs?: number;
}

interface Watched extends Freshness {
  /** Open time since its newest row, or since it began to count. */
  ageMs: number;
  rowCount: number;
  isRunning: boolean;
  wasOpen: boolean;
  isStale: boolean;
}

export class FreshnessWatch {
  readonly #options: FreshnessWatchOptions;
  readonly #nowMs: () => number;
  readonly #epochSeconds: () => number;
  readonly #checkMs: number;
  readonly #watched = new Map<string, Watched>();
  /** Of plugins that run, watched or not: a bound may come later. */
  readonly #running = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #checkedAtMs: number;

  constructor(options: FreshnessWatchOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#epochSeconds = options.epochSeconds ?? (() => Date.now() / 1000);
    this.#checkMs = options.checkMs ?? FRESHNESS_CHECK_MS;
    this.#checkedAtMs = this.#nowMs();
  }

  start(): void {
    this.#timer ??= setInterval(() => this.check(), this.#checkMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** From now on, with nothing counted yet; undefined: it is not watched any more. */
  set(plugin: string, freshness: Freshness | undefined): void {
    if (this.#watched.get(plugin)?.isStale) this.#options.onVerdict(plugin, undefined);
    if (freshness === undefined) this.#watched.delete(plugin);
    else
      this.#watched.set(plugin, {
        ...freshness,
        ageMs: 0,
        rowCount: this.#options.rowsOf(plugin),
        isRunning: this.#running.has(plugin),
        wasOpen: false,
        isStale: false,
      });
  }

  /** While it does not run its rows are not waited for: that it does not is told by its state. */
  setRunning(plugin: string, isRunning: boolean): void {
    if (isRunning) this.#running.add(plugin);
    else this.#running.delete(plugin);
    const watched = this.#watched.get(plugin);
    if (watched === undefined || watched.isRunning === isRunning) return;
    watched.isRunning = isRunning;
    watched.ageMs = 0;
    this.#judge(plugin, watched, false);
  }

  /** Called every `checkMs`; by hand in tests. */
  check(): void {
    const nowMs = this.#nowMs();
    const stepMs = Math.min(nowMs - this.#checkedAtMs, 2 * this.#checkMs);
    this.#checkedAtMs = nowMs;
    const epoch = this.#epochSeconds();
    for (const [plugin, watched] of this.#watched) this.#checkOne(plugin, watched, stepMs, epoch);
  }

  #checkOne(plugin: string, watched: Watched, stepMs: number, epoch: number): void {
    const { calendar, maxAgeMs } = watched;
    const isOpen = calendar.isOpen(epoch);
    const opens = isOpen && !watched.wasOpen;
    watched.wasOpen = isOpen;
    const rowCount = this.#options.rowsOf(plugin);
    if (rowCount !== watched.rowCount) {
      watched.rowCount = rowCount;
      watched.ageMs = 0;
    } else if (opens) {
      if (maxAgeMs < calendar.sessionSeconds * 1000) watched.ageMs = 0;
    } else if (isOpen && watched.isRunning) watched.ageMs += stepMs;
    this.#judge(plugin, watched, isOpen && watched.isRunning && watched.ageMs >= maxAgeMs);
  }

  #judge(plugin: string, watched: Watched, isStale: boolean): void {
    if (watched.isStale === isStale) return;
    watched.isStale = isStale;
    const { maxAgeMs } = watched;
    const reason = isStale
      ? `no row for ${formatSpan(maxAgeMs)} while the market is open`
      : undefined;
    this.#options.onVerdict(plugin, reason);
  }
}

/** '90s', '5m', '26h': the largest unit that leaves no rest. */
function formatSpan(milliseconds: number): string {
  const units = [
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const;
  const unit = units.find(([, size]) => milliseconds >= size && milliseconds % size === 0);
  return unit === undefined ? `${milliseconds}ms` : `${milliseconds / unit[1]}${unit[0]}`;
}
