/**
 * The flight recorder: looks at every plugin once a second, remembers the last minute of looks, and
 * writes it down with the plugin's states and lines when the plugin is taken out of service. Main
 * thread.
 *
 *   <root>/mkts-flight-<plugin>-<time>.json     the newest few of each plugin are kept
 *
 * A recording is evidence, not data: one that cannot be written is told in the log, and nothing waits
 * for it.
 */

import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MktsError, RequestError, reasonOf } from '../base/errors.ts';
import {
  FLIGHT_SAMPLE_MS,
  FLIGHT_SAMPLES_MAX,
  FLIGHTS_PER_PLUGIN_MAX,
  JOURNAL_LINES_MAX,
} from '../base/limits.ts';
import type {
  FlightRecording,
  PluginReport,
  PluginSample,
  RecordingInfo,
} from '../base/plugin-report.ts';
import { flightFileName, parseFlightFileName } from '../storage/file-names.ts';
import type { Log } from './plugin-entry.ts';
import type { PluginJournal } from './plugin-journal.ts';

/** What a look sees; counts are totals. */
export interface PluginLook
  extends Omit<PluginSample, 'time' | 'cpuPercent' | 'rowsPerSecond' | 'logLinesPerSecond'> {
  readonly plugin: string;
  /** CPU time of the worker of this generation. */
  readonly cpuMs: number;
  readonly rowCount: number;
}

export interface FlightRecorderOptions {
  /** The data directory. */
  readonly root: string;
  readonly journal: PluginJournal;
  readonly look: () => readonly PluginLook[];
  readonly report: (plugin: string) => PluginReport | undefined;
  readonly log: Log;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

interface Totals {
  readonly atMs: number;
  readonly generation: number;
  readonly rowCount: number;
  readonly lineCount: number;
  readonly cpuMs: number;
}

interface Track {
  readonly samples: PluginSample[];
  last: Totals;
  /** Of the last row that was seen to arrive. */
  lastRowAtMs: number | undefined;
}

export class FlightRecorder {
  readonly #options: FlightRecorderOptions;
  readonly #tracks = new Map<string, Track>();
  readonly #writing = new Set<Promise<unknown>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FlightRecorderOptions) {
    this.#options = options;
  }

  start(): void {
    this.sample();
    this.#timer = setInterval(() => this.sample(), FLIGHT_SAMPLE_MS);
    this.#timer.unref();
  }

  /** Looks no more, and waits for what is being written. Never rejects. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled(this.#writing);
  }

  /** One look at all plugins. Those that are gone are forgotten. */
  sample(): void {
    const { look, journal, now } = this.#options;
    const atMs = now();
    const seen = new Set<string>();
    for (const { plugin, rowCount, cpuMs, ...marks } of look()) {
      seen.add(plugin);
      const lineCount = journal.lineCount(plugin);
      const track = this.#tracks.get(plugin);
      const current = { atMs, generation: marks.generation, rowCount, lineCount, cpuMs };
      if (track === undefined) {
        const lastRowAtMs = rowCount > 0 ? atMs : undefined;
        this.#tracks.set(plugin, { samples: [], last: current, lastRowAtMs });
        continue;
      }
      const { last } = track;
      // A clock that was set makes no rate.
      const seconds = Math.max((atMs - last.atMs) / 1000, 0.001);
      if (rowCount > last.rowCount) track.lastRowAtMs = atMs;
      track.samples.push({
        time: new Date(atMs).toISOString(),
        ...marks,
        cpuPercent: cpuPercent(last, current, seconds),
        rowsPerSecond: rate(rowCount - last.rowCount, seconds),
        logLinesPerSecond: rate(lineCount - last.lineCount, seconds),
      });
      if (track.samples.length > FLIGHT_SAMPLES_MAX) track.samples.shift();
      track.last = current;
    }
    for (const plugin of this.#tracks.keys()) if (!seen.has(plugin)) this.#tracks.delete(plugin);
  }

  latest(plugin: string): PluginSample | undefined {
    return this.#tracks.get(plugin)?.samples.at(-1);
  }

  /** When its last row was seen to arrive, to the second; undefined: none did. */
  lastRowAt(plugin: string): string | undefined {
    const atMs = this.#tracks.get(plugin)?.lastRowAtMs;
    return atMs === undefined ? undefined : new Date(atMs).toISOString();
  }

  /** Writes a recording of what there is now; the oldest beyond the bound goes. */
  record(plugin: string, why: string, code?: string): Promise<RecordingInfo> {
    const text = `${JSON.stringify(this.#recording(plugin, why, code), undefined, 1)}\n`;
    const writing = this.#write(plugin, text);
    this.#writing.add(writing);
    const written = (): void => void this.#writing.delete(writing);
    writing.then(written, written);
    return writing;
  }

  /** Records a plugin that was taken out of service, if it was in it; returns at once. */
  outOfService(plugin: string, code: string | undefined): void {
    const { log, journal } = this.#options;
    const states = journal.states(plugin);
    if (!states.some(({ state }) => state === 'starting')) return;
    this.record(plugin, states.at(-1)?.reason ?? 'it was taken out of service', code).then(
      ({ file }) => log.info({ plugin, file }, 'flight recording written'),
      (error: unknown) =>
        log.warn({ plugin, reason: reasonOf(error) }, 'a flight recording cannot be written'),
    );
  }

  /** Newest last. */
  async recordings(plugin: string): Promise<readonly RecordingInfo[]> {
    const { root } = this.#options;
    const found: RecordingInfo[] = [];
    for (const file of (await readdir(root)).sort()) {
      const parsed = parseFlightFileName(file);
      if (parsed?.plugin !== plugin) continue;
      // One that was removed since is no recording any more.
      const bytes = await stat(join(root, file)).then(
        ({ size }) => size,
        () => undefined,
      );
      if (bytes !== undefined) found.push({ file, time: parsed.time, bytes });
    }
    return found;
  }

  /** The text of a recording of this plugin. Rejects with MKTS_RECORDING_UNKNOWN. */
  async read(plugin: string, file: string): Promise<string> {
    // A name that parses has no slash in it: nothing but recordings can be read here.
    const isOne = parseFlightFileName(file)?.plugin === plugin && !/[/\\]/.test(file);
    const text = isOne
      ? await readFile(join(this.#options.root, file), 'utf8').catch(() => undefined)
      : undefined;
    if (text === undefined) throw new RequestError('MKTS_RECORDING_UNKNOWN', { plugin, file });
    return text;
  }

  #recording(plugin: string, why: string, code: string | undefined): FlightRecording {
    const { journal, report, now } = this.#options;
    // What happened since the last look is what matters most.
    this.sample();
    return {
      format: 1,
      plugin,
      time: new Date(now()).toISOString(),
      why,
      code,
      report: report(plugin),
      states: journal.states(plugin),
      samples: this.#tracks.get(plugin)?.samples ?? [],
      lines: journal.lines(plugin, 2 * JOURNAL_LINES_MAX, 'debug'),
    };
  }

  async #write(plugin: string, text: string): Promise<RecordingInfo> {
    const { root, now } = this.#options;
    const file = flightFileName(plugin, now());
    const path = join(root, file);
    try {
      // Whole or not at all: somebody may be reading them.
      await writeFile(`${path}.new`, text);
      await rename(`${path}.new`, path);
    } catch (cause) {
      const fields = { operation: 'write', path, reason: reasonOf(cause) };
      throw new MktsError('MKTS_DISK', fields, { cause });
    }
    const kept = await this.recordings(plugin);
    for (const { file: oldest } of kept.slice(0, -FLIGHTS_PER_PLUGIN_MAX))
      await rm(join(root, oldest), { force: true });
    const info = kept.find((each) => each.file === file);
    return info ?? { file, time: new Date(now()).toISOString(), bytes: Buffer.byteLength(text) };
  }
}

/** Of one core. Of two workers, or past the end of the count, nothing can be said. */
function cpuPercent(last: Totals, current: Totals, seconds: number): number | undefined {
  const usedMs = current.cpuMs - last.cpuMs;
  if (current.generation !== last.generation || usedMs < 0) return undefined;
  return Math.round(usedMs / (10 * seconds));
}

function rate(count: number, seconds: number): number {
  return Math.max(0, Math.round((count / seconds) * 10) / 10);
}
