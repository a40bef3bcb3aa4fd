/**
 * What one plugin may ask of the kernel: implements KernelShape from functions kernel.ts hands in.
 * Main thread; one per worker, since series numbers belong to a worker's ring.
 *
 * Arguments come from a thread that runs code of others and are checked here, every one: comlink
 * checks nothing. Answers and errors leave as plain data.
 */

import { transfer } from 'comlink';
import { outcomeOf } from '../../workers/outcome.ts';
import type {
  ForeseenSeries,
  KernelShape,
  OpenedSeries,
  Outcome,
  PlainLogLine,
  PlainMetric,
  PlainSeries,
  PluginDescription,
} from '../../workers/protocol.ts';
import { TokenBucket } from '../../workers/token-bucket.ts';
import { type ColumnSeries, columnBytes } from '../base/column-series.ts';
import { isPlainLetter, type PlainDeadLetter } from '../base/dead-letter.ts';
import { PluginError, RequestError } from '../base/errors.ts';
import {
  DENIALS_KEPT_MAX,
  KEY_BYTES_MAX,
  LETTERS_PER_SECOND_MAX,
  LOG_LINE_BYTES_MAX,
  LOG_LINES_PER_SECOND_MAX,
  METRICS_PER_PLUGIN_MAX,
  PLUGIN_REQUESTS_MAX,
  SERIES_FORESEEN_MAX,
  SERIES_PER_PLUGIN_MAX,
} from '../base/limits.ts';
import { RequestGate } from '../base/request-gate.ts';
import { type BucketSchema, checkSchema, fromPlainSchema, toPlainSchema } from '../base/schema.ts';
import { parseTimeBucketKey, type TimeBucketKey } from '../base/time-bucket-key.ts';
import type { Denial } from './denials.ts';
import {
  isDenial,
  isLogLine,
  isMetric,
  isPlainSchema,
  parsePlainQuery,
} from './kernel-arguments.ts';
import type { Log, PluginEntry } from './plugin-entry.ts';
import { type WriteGrants, writeGrants } from './write-grants.ts';

/** The bucket behind a series number of a ring. */
export interface SeriesTarget {
  readonly schema: BucketSchema;
  readonly key: TimeBucketKey;
}

/** A checked query; times in Unix seconds, both ends inclusive. */
export interface PluginQuery {
  readonly key: TimeBucketKey;
  readonly from?: number;
  readonly to?: number;
  readonly limit?: number;
  readonly oldest: boolean;
  readonly columns?: readonly string[];
}

/** The parts of the kernel behind the API; they throw coded errors. */
export interface KernelFunctions {
  /** What rows for a key must look like: as the bucket there is, or as `schema` if there is none. */
  openBucket(key: TimeBucketKey, schema: BucketSchema): { readonly schema: BucketSchema };
  /** Of a bucket that is there and can be written. */
  schemaOf(key: TimeBucketKey): BucketSchema | undefined;
  query(query: PluginQuery): Promise<ColumnSeries>;
  /** 0 or 1 row. */
  lastRow(key: TimeBucketKey): ColumnSeries;
  /** Counters come as what was added since. */
  metric(plugin: string, metric: PlainMetric): void;
  /** A plugin tried what it may not. */
  denied?(denial: Denial): void;
  /** Rows and messages of a generation that could not be taken; `dropped` more are not told. */
  deadLetters?(from: LetterSender, letters: readonly PlainDeadLetter[], dropped: number): void;
}

export interface LetterSender {
  readonly plugin: string;
  readonly generation: number;
}

export interface KernelApi {
  /** Null prototype, frozen: what comlink exposes. */
  readonly facade: KernelShape;
  readonly calls: readonly (keyof KernelShape)[];
  series(seriesId: number): SeriesTarget | undefined;
  /** What it opened, oldest first. */
  readonly opened: readonly SeriesTarget[];
  /** Opens those of these that it may write and that are there: what it will ask for, most likely. */
  foresee(targets: readonly SeriesTarget[]): readonly ForeseenSeries[];
  /** Queries of the plugin under way, and those that wait for one of them to end. */
  readonly requests: { readonly underWay: number; readonly waiting: number };
}

export interface KernelApiOptions {
  readonly plugin: string;
  /** Of the worker; default 0. */
  readonly generation?: number;
  /** What its entry grants and bounds. */
  readonly entry?: Pick<PluginEntry, 'writes' | 'budget'>;
  /** What the plugin declares; undefined until it is loaded. */
  readonly description?: () => PluginDescription | undefined;
  readonly kernel: KernelFunctions;
  readonly log: Log;
  /** Hides the entry's secrets in a text. */
  readonly redact: (text: string) => string;
}

export function createKernelApi(options: KernelApiOptions): KernelApi {
  const { plugin, generation = 0, kernel, log, redact, entry = {} } = options;
  const { logLinesPerSecond = LOG_LINES_PER_SECOND_MAX, requestsMax = PLUGIN_REQUESTS_MAX } =
    entry.budget ?? {};
  const series: SeriesTarget[] = [];
  const seriesIds = new Map<string, number>();
  // The worker limits itself; this is for the day it does not.
  const logRate = new TokenBucket(2 * logLinesPerSecond, () => performance.now());
  const requests = new RequestGate(plugin, requestsMax);
  let grants: WriteGrants | undefined;

  // Not before it is loaded, which no plugin can: it is given `ctx` afterwards.
  const grantsNow = (): WriteGrants => {
    grants ??= writeGrants(entry, options.description?.() ?? { writes: undefined });
    return grants;
  };

  const openSeries = (keyText: unknown, plain: unknown): OpenedSeries => {
    if (typeof keyText !== 'string') throw invalid('key is not a text');
    if (!isPlainSchema(plain)) throw invalid('schema is malformed');
    const key = parseTimeBucketKey(keyText);
    const allowed = grantsNow();
    if (!allowed.allows(key.path)) {
      kernel.denied?.({ plugin, what: 'write', detail: key.path, count: 1 });
      throw new PluginError('MKTS_CAPABILITY_DENIED', {
        plugin,
        what: `writing ${key.path}`,
        allowed: allowed.text,
      });
    }
    const wanted = fromPlainSchema(plain);
    if (wanted === undefined)
      throw new RequestError('MKTS_COLUMN_TYPE_UNKNOWN', { type: JSON.stringify(plain.columns) });
    checkSchema(wanted);
    return numbered(key, kernel.openBucket(key, wanted).schema);
  };

  const foresee = (targets: readonly SeriesTarget[]): ForeseenSeries[] => {
    const wanted = new Map(targets.map(({ key }) => [key.path, key]));
    const foreseen: ForeseenSeries[] = [];
    for (const [path, key] of [...wanted].slice(-SERIES_FORESEEN_MAX)) {
      const schema = grantsNow().allows(path) ? kernel.schemaOf(key) : undefined;
      if (schema !== undefined) foreseen.push([path, numbered(key, schema)]);
    }
    return foreseen;
  };

  const numbered = (key: TimeBucketKey, schema: BucketSchema): OpenedSeries => {
    // A bucket destroyed and made anew may have other columns: then it is another series.
    const identity = `${key.path} ${JSON.stringify(toPlainSchema(schema))}`;
    let seriesId = seriesIds.get(identity);
    if (seriesId === undefined) {
      if (series.length >= SERIES_PER_PLUGIN_MAX)
        throw new PluginError('MKTS_PLUGIN_FAILED', {
          plugin,
          reason: `it opens more than ${SERIES_PER_PLUGIN_MAX} series`,
        });
      seriesId = series.length;
      series.push({ schema, key });
      seriesIds.set(identity, seriesId);
    }
    return { seriesId, schema: toPlainSchema(schema) };
  };

  const writeLog = (lines: unknown, droppedLines: unknown): void => {
    if (!Array.isArray(lines)) throw invalid('lines are not a list');
    let dropped = typeof droppedLines === 'number' && droppedLines > 0 ? droppedLines : 0;
    for (const line of lines) {
      if (!isLogLine(line)) throw invalid('a log line is malformed');
      if (logRate.tryTake()) logLine(line);
      else dropped++;
    }
    if (dropped > 0) log.warn({ plugin, dropped }, 'log lines of a plugin were dropped');
  };

  const logLine = ({ level, message, fields }: PlainLogLine): void => {
    const shown: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(fields))
      shown[name] = typeof value === 'string' ? redact(value.slice(0, LOG_LINE_BYTES_MAX)) : value;
    log[level]({ ...shown, plugin }, redact(message.slice(0, LOG_LINE_BYTES_MAX)));
  };

  const shape: KernelShape = {
    openSeries: (key, schema) => outcomeOf(async () => openSeries(key, schema)),
    query: (query) =>
      answerOf(() =>
        requests.run(async () => plainSeries(await kernel.query(parsePlainQuery(query)))),
      ),
    // Answered at once, from what is in memory: it needs no turn.
    lastRow: (key) =>
      answerOf(async () => {
        if (typeof key !== 'string') throw invalid('key is not a text');
        return plainSeries(kernel.lastRow(parseTimeBucketKey(key)));
      }),
    log: async (lines, droppedLines) => writeLog(lines, droppedLines),
    metrics: async (metrics) => {
      if (!Array.isArray(metrics) || metrics.length > METRICS_PER_PLUGIN_MAX)
        throw invalid('metrics are not a list, or too long a one');
      for (const metric of metrics) if (isMetric(metric)) kernel.metric(plugin, metric);
    },
    denied: async (denials) => {
      if (!Array.isArray(denials) || denials.length > 2 * DENIALS_KEPT_MAX)
        throw invalid('denials are not a list, or too long a one');
      for (const { what, detail, count } of denials.filter(isDenial))
        kernel.denied?.({ plugin, what, detail: redact(detail.slice(0, KEY_BYTES_MAX)), count });
    },
    deadLetters: async (letters, dropped) => {
      if (!Array.isArray(letters) || letters.length > LETTERS_PER_SECOND_MAX)
        throw invalid('dead letters are not a list, or too long a one');
      const fit = letters.filter(isPlainLetter).map((letter) => ({
        ...letter,
        reason: redact(letter.reason),
        payload: letter.payload === undefined ? undefined : redact(letter.payload),
      }));
      const malformed = letters.length - fit.length;
      const told = Number.isSafeInteger(dropped) && dropped > 0 ? dropped : 0;
      kernel.deadLetters?.({ plugin, generation }, fit, told + malformed);
    },
  };
  return {
    facade: Object.freeze(Object.assign(Object.create(null), shape)) as KernelShape,
    calls: ['openSeries', 'query', 'lastRow', 'log', 'metrics', 'denied', 'deadLetters'],
    series: (seriesId) => series[seriesId],
    opened: series,
    foresee,
    requests,
  };
}

function invalid(reason: string): RequestError {
  return new RequestError('MKTS_DATASET_INVALID', { reason });
}

/** An outcome whose column bytes are handed over, not copied once more. */
async function answerOf(task: () => Promise<PlainSeries>): Promise<Outcome<PlainSeries>> {
  const outcome = await outcomeOf(task);
  return outcome.ok
    ? transfer(
        outcome,
        outcome.value.columns.map(({ data }) => data),
      )
    : outcome;
}

/** Copies: the columns may be views of memory the kernel goes on using. */
function plainSeries({ rowCount, columns }: ColumnSeries): PlainSeries {
  return {
    rowCount,
    columns: columns.map(({ name, type, data }) => {
      const copy = new ArrayBuffer(data.byteLength);
      new Uint8Array(copy).set(columnBytes(data));
      return { name, type: type.code, data: copy };
    }),
  };
}
