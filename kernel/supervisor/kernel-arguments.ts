/** Checks of what a worker sends as arguments: shapes only, the meaning is checked further in. */

import type { PlainDenial, PlainLogLine, PlainMetric } from '../../workers/protocol.ts';
import { RequestError } from '../base/errors.ts';
import { COLUMNS_MAX, METRICS_PER_PLUGIN_MAX } from '../base/limits.ts';
import type { PlainSchema } from '../base/schema.ts';
import { parseTimeBucketKey } from '../base/time-bucket-key.ts';
import type { PluginQuery } from './kernel-api.ts';

const LEVELS: ReadonlySet<unknown> = new Set(['debug', 'info', 'warn', 'error']);
const METRIC_NAME = /^[a-zA-Z_][a-zA-Z0-9_]{0,127}$/;
/** Labels of a metric and fields of a log line a plugin may give. */
const FIELDS_MAX = 64;

export function isPlainSchema(value: unknown): value is PlainSchema {
  if (!isRecord(value)) return false;
  const { recordType, columns } = value;
  return (
    (recordType === 'fixed' || recordType === 'variable') &&
    Array.isArray(columns) &&
    // One more than may be: checkSchema then says so.
    columns.length <= COLUMNS_MAX + 1 &&
    columns.every(
      (column) =>
        isRecord(column) && typeof column.name === 'string' && typeof column.type === 'number',
    )
  );
}

export function isLogLine(value: unknown): value is PlainLogLine {
  return (
    isRecord(value) &&
    LEVELS.has(value.level) &&
    typeof value.message === 'string' &&
    isRecord(value.fields) &&
    Object.keys(value.fields).length <= FIELDS_MAX
  );
}

/** A malformed metric is left out: a plugin's bad name shall not stop its others. */
export function isMetric(value: unknown): value is PlainMetric {
  if (!isRecord(value)) return false;
  const { kind, name, labels } = value;
  return (
    (kind === 'counter' || kind === 'gauge') &&
    typeof name === 'string' &&
    METRIC_NAME.test(name) &&
    Number.isFinite(value.value) &&
    isRecord(labels) &&
    Object.keys(labels).length <= Math.min(FIELDS_MAX, METRICS_PER_PLUGIN_MAX) &&
    Object.entries(labels).every(
      ([label, text]) => METRIC_NAME.test(label) && typeof text === 'string',
    )
  );
}

/** Throws RequestError: the key's own, or MKTS_RPC_PARAMS for the rest. */
export function parsePlainQuery(value: unknown): PluginQuery {
  if (!isRecord(value) || typeof value.key !== 'string') throw wrong('key is not a text');
  const { from, to, limit, oldest, columns } = value;
  if (!isTime(from)) throw wrong('from is not a number of seconds');
  if (!isTime(to)) throw wrong('to is not a number of seconds');
  if (limit !== undefined && !(Number.isSafeInteger(limit) && (limit as number) >= 0))
    throw wrong('limit is not a count');
  if (
    columns !== undefined &&
    !(Array.isArray(columns) && columns.every((name) => typeof name === 'string'))
  )
    throw wrong('columns is not a list of names');
  return {
    key: parseTimeBucketKey(value.key),
    oldest: oldest === true,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(limit === undefined ? {} : { limit: limit as number }),
    ...(columns === undefined ? {} : { columns }),
  };
}

function isTime(value: unknown): value is number | undefined {
  return value === undefined || Number.isFinite(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(reason: string): RequestError {
  return new RequestError('MKTS_RPC_PARAMS', { method: 'ctx.query', reason });
}

export function isDenial(value: unknown): value is PlainDenial {
  if (!isRecord(value)) return false;
  const { what, detail, count } = value;
  return (
    (what === 'secret' || what === 'sandbox' || what === 'write') &&
    typeof detail === 'string' &&
    Number.isSafeInteger(count) &&
    (count as number) > 0
  );
}
