/**
 * The bodies of DataService's answers: their fields, in the order in which the reference writes them.
 */

import { RequestError } from '../base/errors.ts';
import { EPOCH_SHAPE, RECORD_TYPE_CODES } from '../base/schema.ts';
import type { QueryResult } from '../query/scan.ts';
import type { Bucket } from '../storage/bucket.ts';
import type { AnswerBody, AnswerWriter } from './answer-writer.ts';
import type { Field } from './fields.ts';
import { writeDataset } from './numpy.ts';
import type { DeletedRows } from './row-deletion.ts';
import { wireErrorOf } from './wire-error.ts';

const RESPONSES: Field = { snake: 'responses', go: 'Responses' };
const RESULT: Field = { snake: 'result', go: 'Result' };
const VERSION: Field = { snake: 'version', go: 'Version' };
const TIMEZONE: Field = { snake: 'timezone', go: 'Timezone' };
const ERROR: Field = { snake: 'error', go: 'Error' };
const DELETED: Field = { snake: 'deleted', go: 'Deleted' };
const KEY: Field = { snake: 'key', go: 'Key' };
const ROWS: Field = { snake: 'rows', go: 'Rows' };
const FIRST: Field = { snake: 'first', go: 'First' };
const LAST: Field = { snake: 'last', go: 'Last' };

const SECOND_NANOS = 1_000_000_000;

/** ListSymbols. */
export function namesAnswer(names: readonly string[]): AnswerBody {
  return (writer) => {
    writer.beginMap(1);
    // These few keys have no MessagePack name of their own: the Go spelling serves both encodings.
    writer.key('Results');
    writer.beginList(names.length);
    for (const name of names) writer.text(name);
    writer.endList();
    writer.endMap();
  };
}

/** Query: one dataset per query; none at all is null. */
export function queryAnswer(
  results: readonly QueryResult[],
  version: string,
  timezone: string,
): AnswerBody {
  return (writer) => {
    writer.beginMap(3);
    writer.key(RESPONSES);
    if (results.length === 0) writer.nil();
    else {
      writer.beginList(results.length);
      for (const result of results) {
        writer.beginMap(1);
        writer.key(RESULT);
        writeDataset(writer, result);
        writer.endMap();
      }
      writer.endList();
    }
    writer.key(VERSION);
    writer.text(version);
    writer.key(TIMEZONE);
    writer.text(timezone);
    writer.endMap();
  };
}

/** Write, Create, Destroy: an error text per request, '' for success; undefined is null. */
export function statusAnswer(texts: readonly string[] | undefined, version: string): AnswerBody {
  return (writer) => {
    writer.beginMap(1);
    writer.key(RESPONSES);
    if (texts === undefined) writer.nil();
    else {
      writer.beginList(texts.length);
      for (const text of texts) writeStatus(writer, text, version);
      writer.endList();
    }
    writer.endMap();
  };
}

/** What one request of a Delete call came to. */
export interface DeletionOutcome {
  readonly deleted: readonly DeletedRows[];
  /** '' for success. */
  readonly error: string;
}

/** Delete: the buckets that have lost rows, or would, and how many. */
export function deletedAnswer(outcomes: readonly DeletionOutcome[], version: string): AnswerBody {
  return (writer) => {
    writer.beginMap(1);
    writer.key(RESPONSES);
    writer.beginList(outcomes.length);
    for (const { deleted, error } of outcomes) {
      writer.beginMap(3);
      writer.key(DELETED);
      writer.beginList(deleted.length);
      for (const each of deleted) writeDeleted(writer, each);
      writer.endList();
      writeStatusFields(writer, error, version);
      writer.endMap();
    }
    writer.endList();
    writer.endMap();
  };
}

function writeDeleted(writer: AnswerWriter, { key, rows, first, last }: DeletedRows): void {
  writer.beginMap(4);
  writer.key(KEY);
  writer.text(key);
  writer.key(ROWS);
  writer.integer(rows);
  writer.key(FIRST);
  writer.integer(first);
  writer.key(LAST);
  writer.integer(last);
  writer.endMap();
}

/** A key that was asked for, and its bucket if there is one. */
export interface KeyInfo {
  readonly key: string;
  readonly bucket: Pick<Bucket, 'key' | 'schema' | 'latestYear'> | undefined;
}

/** GetInfo. */
export function infoAnswer(infos: readonly KeyInfo[], version: string): AnswerBody {
  return (writer) => {
    writer.beginMap(1);
    writer.key(RESPONSES);
    writer.beginList(infos.length);
    for (const info of infos) writeInfo(writer, info, version);
    writer.endList();
    writer.endMap();
  };
}

function writeInfo(writer: AnswerWriter, { key, bucket }: KeyInfo, version: string): void {
  writer.beginMap(5);
  writer.key('LatestYear');
  writer.integer(bucket?.latestYear ?? 0);
  writer.key('TimeFrame');
  writer.integer((bucket?.key.timeframeSeconds ?? 0) * SECOND_NANOS);
  writer.key('DSV');
  if (bucket === undefined) writer.nil();
  else {
    const shapes = [EPOCH_SHAPE, ...bucket.schema.columns];
    writer.beginList(shapes.length);
    for (const { name, type } of shapes) {
      writer.beginMap(2);
      writer.key('Name');
      writer.text(name);
      writer.key('Type');
      writer.uint8(type.code);
      writer.endMap();
    }
    writer.endList();
  }
  writer.key('RecordType');
  writer.int8(bucket === undefined ? 0 : RECORD_TYPE_CODES[bucket.schema.recordType]);
  writer.key('ServerResp');
  const unknown = new RequestError('MKTS_BUCKET_UNKNOWN', { key });
  writeStatus(writer, bucket === undefined ? wireErrorOf(unknown).text : '', version);
  writer.endMap();
}

function writeStatus(writer: AnswerWriter, text: string, version: string): void {
  writer.beginMap(2);
  writeStatusFields(writer, text, version);
  writer.endMap();
}

function writeStatusFields(writer: AnswerWriter, text: string, version: string): void {
  writer.key(ERROR);
  writer.text(text);
  writer.key(VERSION);
  writer.text(version);
}
