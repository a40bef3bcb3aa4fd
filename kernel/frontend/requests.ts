/**
 * The parameters of each method of DataService: which fields they have, and what they mean as parsed
 * values. Reading them is all that happens before a call counts as dispatched. Throws
 * MKTS_RPC_PARAMS and nothing else.
 */

import type { RecordType } from '../base/schema.ts';
import type { QueryRequest } from '../query/plan.ts';
import type { Field, Fields } from './fields.ts';
import { type RawDataset, readDataset } from './numpy.ts';

const REQUESTS: Field = { snake: 'requests', go: 'Requests' };
const FORMAT: Field = { snake: 'format', go: 'Format' };
const KEY: Field = { snake: 'key', go: 'Key' };

const IS_SQL: Field = { snake: 'is_sqlstatement', go: 'IsSQLStatement' };
const SQL: Field = { snake: 'sql_statement', go: 'SQLStatement' };
const DESTINATION: Field = { snake: 'destination', go: 'Destination' };
const KEY_CATEGORY: Field = { snake: 'key_category', go: 'KeyCategory' };
const EPOCH_START: Field = { snake: 'epoch_start', go: 'EpochStart' };
const EPOCH_START_NANOS: Field = { snake: 'epoch_start_nanos', go: 'EpochStartNanos' };
const EPOCH_END: Field = { snake: 'epoch_end', go: 'EpochEnd' };
const EPOCH_END_NANOS: Field = { snake: 'epoch_end_nanos', go: 'EpochEndNanos' };
const LIMIT: Field = { snake: 'limit_record_count', go: 'LimitRecordCount' };
const FROM_START: Field = { snake: 'limit_from_start', go: 'LimitFromStart' };
const COLUMNS: Field = { snake: 'columns', go: 'Columns' };
const FUNCTIONS: Field = { snake: 'functions', go: 'Functions' };

const DRY_RUN: Field = { snake: 'dry_run', go: 'DryRun' };

const DATASET: Field = { snake: 'dataset', go: 'Data' };
const IS_VARIABLE: Field = { snake: 'is_variable_length', go: 'IsVariableLength' };
const DURABILITY: Field = { snake: 'durability', go: 'Durability' };
const COLUMN_NAMES: Field = { snake: 'column_names', go: 'ColumnNames' };
const COLUMN_TYPES: Field = { snake: 'column_types', go: 'ColumnTypes' };
const ROW_TYPE: Field = { snake: 'row_type', go: 'RowType' };

/** One query of a Query call. */
export interface QueryCall extends QueryRequest {
  readonly isSql: boolean;
  readonly functions: readonly string[];
}

type RequestedTimes = Pick<
  QueryRequest,
  'epochStart' | 'epochStartNanos' | 'epochEnd' | 'epochEndNanos'
>;

/** One request of a Delete call. */
export interface DeleteCall extends RequestedTimes {
  readonly key: string;
  readonly isDryRun: boolean;
}

/** One request of a Write call. */
export interface WriteCall {
  readonly dataset: RawDataset | undefined;
  readonly recordType: RecordType;
  /** As it was sent; '': that of the server. */
  readonly durability: string;
}

/** One request of a Create call. */
export interface CreateCall {
  readonly key: string;
  readonly columnNames: readonly string[];
  readonly columnTypes: readonly string[];
  readonly recordType: RecordType;
}

export function readQueryCalls(fields: Fields): readonly QueryCall[] {
  return fields.children(REQUESTS).map((request) => {
    request.text(SQL);
    return {
      isSql: request.flag(IS_SQL) === true,
      destination: request.text(DESTINATION),
      keyCategory: request.text(KEY_CATEGORY),
      ...readTimes(request),
      limit: request.integer(LIMIT),
      limitFromStart: request.flag(FROM_START),
      columns: request.texts(COLUMNS),
      functions: request.texts(FUNCTIONS) ?? [],
    };
  });
}

export function readDeleteCalls(fields: Fields): readonly DeleteCall[] {
  return fields.children(REQUESTS).map((request) => ({
    key: request.text(KEY),
    ...readTimes(request),
    isDryRun: request.flag(DRY_RUN) === true,
  }));
}

function readTimes(request: Fields): RequestedTimes {
  return {
    epochStart: request.integer(EPOCH_START),
    epochStartNanos: request.integer(EPOCH_START_NANOS),
    epochEnd: request.integer(EPOCH_END),
    epochEndNanos: request.integer(EPOCH_END_NANOS),
  };
}

export function readWriteCalls(fields: Fields): readonly WriteCall[] {
  return fields.children(REQUESTS).map((request) => {
    const dataset = request.child(DATASET);
    return {
      dataset: dataset === undefined ? undefined : readDataset(dataset),
      recordType: request.flag(IS_VARIABLE) === true ? 'variable' : 'fixed',
      durability: request.text(DURABILITY),
    };
  });
}

export function readCreateCalls(fields: Fields): readonly CreateCall[] {
  return fields.children(REQUESTS).map((request) => {
    // The Python client sends `row_type`, which the reference overlooks and so makes fixed buckets.
    const isVariable = request.flag(IS_VARIABLE) ?? request.text(ROW_TYPE) === 'variable';
    return {
      key: request.text(KEY),
      columnNames: request.texts(COLUMN_NAMES) ?? [],
      columnTypes: request.texts(COLUMN_TYPES) ?? [],
      recordType: isVariable ? 'variable' : 'fixed',
    };
  });
}

/** The keys of a GetInfo or Destroy call. */
export function readKeyCalls(fields: Fields): readonly string[] {
  return fields.children(REQUESTS).map((request) => request.text(KEY));
}

/** What a ListSymbols call asks for; any text but `tbk` means symbols. */
export function readListFormat(fields: Fields): 'keys' | 'symbols' {
  return fields.text(FORMAT) === 'tbk' ? 'keys' : 'symbols';
}
