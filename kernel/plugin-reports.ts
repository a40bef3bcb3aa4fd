/**
 * What is known of each plugin, from the parts that know it (supervisor, journal, recorder, triggers,
 * row counts), as the one report an operator reads. Main thread; looks only, changes nothing.
 */

import { RECOVERED_MS } from './base/limits.ts';
import type {
  BudgetUse,
  PluginDetail,
  PluginReport,
  PluginRights,
  PluginSample,
  StateChange,
} from './base/plugin-report.ts';
import { maskSecrets } from './base/secrets.ts';
import type { PluginRows, RowCounts } from './plugin-rows.ts';
import type { DeadLetters } from './supervisor/dead-letters.ts';
import type { PluginLook } from './supervisor/flight-recorder.ts';
import type { PluginEntry } from './supervisor/plugin-entry.ts';
import type { PluginJournal } from './supervisor/plugin-journal.ts';
import type { PluginStatus } from './supervisor/plugin-state.ts';
import type { TriggerStats } from './triggers/trigger-queue.ts';

export interface ReportSources {
  readonly journal: PluginJournal;
  /** The last second of a plugin. */
  readonly latest: (plugin: string) => PluginSample | undefined;
  readonly lastRowAt: (plugin: string) => string | undefined;
  readonly rows: PluginRows;
  readonly letters: Pick<DeadLetters, 'totals'>;
  /** Bytes of what it remembers, and of its dead letters. */
  readonly diskBytes: (plugin: string) => number;
  readonly triggers: () => readonly TriggerStats[];
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** States in which nobody need look. */
const HEALTHY: readonly string[] = ['idle', 'starting', 'running', 'stopped'];

export class PluginReports {
  readonly #sources: ReportSources;

  constructor(sources: ReportSources) {
    this.#sources = sources;
  }

  report(status: PluginStatus, entry: PluginEntry): PluginReport {
    const { journal, latest: latestOf, lastRowAt, rows, letters, now } = this.#sources;
    const { name, candidate } = status;
    const last = journal.states(name).at(-1);
    const latest = latestOf(name);
    const isHealthy = HEALTHY.includes(status.state) && candidate?.reason === undefined;
    return {
      name,
      kind: status.kind,
      module: status.module,
      version: status.version,
      isolation: entry.isolation ?? 'worker',
      state: status.state,
      isHealthy,
      reason: status.reason ?? reloadProblem(status),
      code: last?.state === status.state ? last.code : undefined,
      since: new Date(now() - status.stateMs).toISOString(),
      wrongSince: isHealthy ? undefined : troubleSince(journal.states(name), now()),
      stateSeconds: Math.floor(status.stateMs / 1000),
      generation: status.generation,
      restarts: status.restarts,
      logLevel: journal.levelOf(name),
      memoryMb: Math.round(status.memoryMb * 10) / 10,
      cpuPercent: latest?.cpuPercent,
      rowsPerSecond: latest?.rowsPerSecond ?? 0,
      ...rowsOf(rows.counts(name)),
      deadLetters: letters.totals().find(({ plugin }) => plugin === name)?.kept ?? 0,
      lastRowAt: lastRowAt(name),
    };
  }

  detail(
    status: PluginStatus,
    entry: PluginEntry,
    asked: Pick<PluginDetail, 'on' | 'asks' | 'waitsFor' | 'may' | 'configSchema'>,
  ): PluginDetail {
    const { journal, triggers } = this.#sources;
    const { name, candidate, shadow } = status;
    const stats = triggers().find((each) => each.name === name);
    return {
      ...this.report(status, entry),
      ...asked,
      config: maskSecrets(entry.config),
      budgets: this.budgets(status, entry),
      ring: {
        usedBytes: status.ringUsedBytes,
        highWaterBytes: status.ringHighWaterBytes,
        capacityBytes: status.ringCapacityBytes,
        rejectedFrames: status.rejectedFrames,
      },
      trigger: stats && {
        backlogKeys: stats.backlogKeys,
        fired: stats.fired,
        failed: stats.failed,
      },
      candidate,
      shadow,
      zombies: status.zombies,
      history: journal.states(name),
      lastError: journal.lastError(name),
    };
  }

  /** What the flight recorder looks at. */
  look({ name, ...status }: PluginStatus): PluginLook {
    return {
      plugin: name,
      state: status.state,
      generation: status.generation,
      memoryMb: Math.round(status.memoryMb * 10) / 10,
      cpuMs: status.cpuMs,
      ringUsedBytes: status.ringUsedBytes,
      ringHighWaterBytes: status.ringHighWaterBytes,
      rejectedFrames: status.rejectedFrames,
      rowCount: this.#sources.rows.total(name),
    };
  }

  /** What it uses of each bound, as of the last second. */
  budgets(status: PluginStatus, { budget = {} }: PluginEntry): readonly BudgetUse[] {
    const latest = this.#sources.latest(status.name);
    return [
      { budget: 'memory', used: Math.round(status.memoryMb), limit: budget.memoryMb, unit: 'MB' },
      { budget: 'cpu', used: latest?.cpuPercent, limit: budget.cpuPercent, unit: '% of a core' },
      {
        budget: 'records',
        used: latest?.rowsPerSecond,
        limit: budget.recordsPerSecond,
        unit: 'rows/s',
      },
      {
        budget: 'log lines',
        used: latest?.logLinesPerSecond,
        limit: budget.logLinesPerSecond,
        unit: 'lines/s',
      },
      {
        budget: 'requests',
        used: status.requests.underWay + status.requests.waiting,
        limit: budget.requestsMax,
        unit: 'queries',
      },
      {
        budget: 'disk',
        used: Math.round(this.#sources.diskBytes(status.name) / 10_485.76) / 100,
        limit: budget.diskMb,
        unit: 'MB',
      },
    ];
  }
}

function rowsOf({ sent, accepted, rejected }: RowCounts): {
  readonly rowsSent: number;
  readonly rowsAccepted: number;
  readonly rowsRejected: number;
} {
  return { rowsSent: sent, rowsAccepted: accepted, rowsRejected: rejected };
}

/** What the entry itself grants; names of secrets, never their values. */
export function rightsOf(
  entry: PluginEntry,
  network: readonly string[],
  declaredWrites: readonly string[] | undefined,
): PluginRights {
  return {
    network,
    writes: entry.writes ?? declaredWrites,
    secrets: Object.keys(entry.secrets ?? {}).sort(),
    builtins: [...(entry.grants ?? [])],
  };
}

/**
 * When the trouble there is began: states follow each other quickly while a plugin fails, is started
 * and fails again. Undefined: no state tells of trouble.
 */
export function troubleSince(states: readonly StateChange[], nowMs: number): string | undefined {
  let since: string | undefined;
  let endMs = nowMs;
  for (const { time, state } of states.toReversed()) {
    const startMs = Date.parse(time);
    const isUp = state === 'starting' || state === 'running';
    if (state === 'stopped' || (isUp && endMs - startMs >= RECOVERED_MS)) break;
    if (!isUp) since = time;
    endMs = startMs;
  }
  return since;
}

/** Why what runs is not what the files say. */
function reloadProblem({ candidate }: PluginStatus): string | undefined {
  if (candidate?.reason === undefined) return undefined;
  const what = candidate.state === 'waiting' ? 'waits for consent' : 'did not take over';
  return `generation ${candidate.generation} ${what}: ${candidate.reason}`;
}
